"""Other libraries, kept from printing and from the network while a block runs.

Both change what the whole process shares, and put it back at the end of the block.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Let nothing that a library prints, logs or warns of in this block reach the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Let Hugging Face's libraries reach nothing over the network in this block."""
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:  # then nothing can
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
