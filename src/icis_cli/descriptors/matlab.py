"""Descriptors in MATLAB files, as xlsa17's ``att_splits.mat``.

There ``att`` is (d, C), one column per class in the order of ``allclasses_names``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icis_cli.descriptors.base import Descriptors, checked
from icis_cli.errors import DescriptorError
from icis_cli.matlab import load_arrays, texts


def read_mat(path: Path) -> Descriptors:
    """Read ``att`` and ``allclasses_names``.

    Raises:
        DescriptorError: no MATLAB file, without ``att``, or names that are no texts.

    """
    content = load_arrays(path, ("att", "allclasses_names"), DescriptorError)
    if "att" not in content:
        raise DescriptorError(path, "expected an array 'att' (attributes, classes), found none")
    names = None
    if "allclasses_names" in content:
        names = texts(content["allclasses_names"])
        if names is None:
            raise DescriptorError(path, "'allclasses_names' holds something that is no text")
    return checked(path, np.asarray(content["att"]).T, names)
