"""What mkdocs does to pages beyond its plugins."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr):(?=<code>)")


def on_page_content(html: str, **_others: Any) -> str:
    """Return a page without the roles that docstrings put before names of code."""
    return _ROLE.sub("", html)
