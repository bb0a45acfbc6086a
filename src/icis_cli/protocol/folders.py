"""Where the files of the xlsa17 data sets are: one folder per data set, two files in each."""

from __future__ import annotations

from pathlib import Path

from icis_cli.errors import FeatureError
from icis_cli.matlab import list_arrays
from icis_cli.words import listed

#: Class descriptors and splits of a data set.
SPLITS = "att_splits.mat"

#: Features of a data set, in the published folders.
FEATURES = "res101.mat"

#: Where data sets lie below the folder that a person names: as unpacked, or anywhere above.
_PLACES = (SPLITS, f"*/{SPLITS}", f"data/*/{SPLITS}", f"xlsa17/data/*/{SPLITS}")

_DOWNLOAD = (
    "name the folder of one data set with res101.mat and att_splits.mat, or the folder that holds "
    "several, as xlsa17/data"
)


def find_datasets(root: Path | str) -> tuple[Path, ...]:
    """Find the data sets in a folder: itself, or folders in it, in ``data`` or ``xlsa17/data``.

    Args:
        root: a folder.

    Returns:
        Folders that hold ``att_splits.mat``, sorted by name; at least one. If ``root`` itself is
        one, only that.

    Raises:
        FeatureError: no such folder, or no data set in it.

    """
    root = Path(root)
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise FeatureError(root, f"expected a folder with xlsa17 data, found {found}", _DOWNLOAD)
    if (root / SPLITS).is_file():
        return (root,)
    found_files = {path for place in _PLACES[1:] for path in root.glob(place) if path.is_file()}
    if not found_files:
        raise FeatureError(root, f"holds no data set ({SPLITS}), found {_listing(root)}", _DOWNLOAD)
    return tuple(sorted((path.parent for path in found_files), key=lambda p: (p.name, p)))


def find_features(folder: Path) -> Path:
    """Return ``res101.mat``, or else the one other ``.mat`` with ``features`` and ``labels``.

    Raises:
        FeatureError: there is none, or several.

    """
    if (folder / FEATURES).is_file():
        return folder / FEATURES
    others = sorted(p for p in folder.glob("*.mat") if p.name != SPLITS and p.is_file())
    fitting, seen = [], []
    for path in others:
        try:
            names = list(list_arrays(path, FeatureError))
        except FeatureError as error:
            seen.append(f"{path.name} ({error.problem})")
            continue
        seen.append(f"{path.name} with {', '.join(names[:6]) or 'nothing'}")
        if {"features", "labels"} <= set(names):
            fitting.append(path)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise FeatureError(
            folder,
            f"{len(fitting)} files hold 'features' and 'labels', expected one: "
            + ", ".join(path.name for path in fitting),
            f"keep one of them there, or call it {FEATURES}",
        )
    raise FeatureError(
        folder,
        f"expected {FEATURES}, or another .mat with 'features' and 'labels', found "
        + ("; ".join(seen[:6]) or _listing(folder)),
        _DOWNLOAD,
    )


def _listing(folder: Path, most: int = 6) -> str:
    """Return the first names in a folder, for a message."""
    names = sorted(path.name for path in folder.iterdir())
    return listed(names, most) or "nothing"
