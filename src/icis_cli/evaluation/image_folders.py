"""Which class each folder of images is: by its name, by a list of folders, or by its number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from icis_cli.descriptors.names import match_names, simplified
from icis_cli.descriptors.registry import read_lines
from icis_cli.errors import AlignmentError, FeatureError

#: What stands between a folder and its class.
_BETWEEN = re.compile(r"\s*,\s*|\s+")

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_ONE_FOLDER = "expected one folder per class, named like the class"


def class_folders(root: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Return the folders under ``root`` that are one per class, and notes.

    A ``val`` or ``test`` that is alone there is gone into.

    Raises:
        FeatureError: no such folder, no folder in it, or several parts of a data set.

    """
    if not root.is_dir():
        raise FeatureError(root, "no such folder", _ONE_FOLDER)
    folders = _folders(root)
    if not folders:
        raise FeatureError(root, "holds no folder", _ONE_FOLDER)
    parts = [folder for folder in folders if folder.name.casefold() in _SPLITS]
    if len(parts) < len(folders) or not any(_folders(part) for part in parts):
        return folders, ()
    if len(parts) > 1:
        listed = ", ".join(part.name for part in parts)
        raise FeatureError(root, f"holds {listed}, {_ONE_FOLDER}", f"pass --images {parts[-1]}")
    return _folders(parts[0]), (f"classes are the folders in {parts[0]}",)


def rows_of_folders(
    root: Path, folders: Sequence[str], names: Sequence[str], listed: Path | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the head row of each folder, and notes.

    Args:
        root: where the folders are, for errors.
        folders: their names.
        names: of the classes, in head-row order.
        listed: a file that says which class a folder is, or None where its name does.

    Raises:
        FeatureError: the list lacks a folder.
        AlignmentError: a name matches no class, or no head row has such a number.

    """
    if listed is not None:
        classes = _listed(listed, root, folders)
        return match_names(classes, names, "the classes of the checkpoint").rows, ()
    if all(re.fullmatch(r"[0-9]{1,9}", folder) for folder in folders):
        known = {simplified(name) for name in names}
        if not any(simplified(folder) in known for folder in folders):
            return _numbered(root, folders, len(names))
    try:
        match = match_names(folders, names, "the classes of the checkpoint")
    except AlignmentError as error:
        raise AlignmentError(
            f"{root}: {error.message}",
            f"{error.hint + '; or ' if error.hint else ''}pass --folders FILE with lines 'folder, "
            "class'",
        ) from None
    notes = [f"folder {folder!r} is taken for class {name!r}" for folder, name in match.inexact]
    return match.rows, tuple(notes)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _listed(path: Path, root: Path, folders: Sequence[str]) -> list[str]:
    """Return the class of each folder, as a file with lines ``folder, class`` says.

    Folders and classes may hold what stands between them: a line is of the folder that is there.

    Raises:
        FeatureError: a folder has no line, or two that differ.

    """
    there = set(folders)
    found: dict[str, str] = {}
    for line in read_lines(path):
        for between in reversed([*_BETWEEN.finditer(line)]):
            folder, name = line[: between.start()], line[between.end() :]
            if folder in there and name:
                if found.setdefault(folder, name) != name:
                    raise FeatureError(path, f"lists the folder {folder!r} twice")
                break
    missing = [folder for folder in folders if folder not in found]
    if missing:
        raise FeatureError(
            path,
            f"lists no class for {len(missing)} of the {len(folders)} folders in {root}, first "
            f"{missing[0]!r}",
            "one line for each folder: its name, a tab, a comma or a space, and its class",
        )
    return [found[folder] for folder in folders]


def _numbered(
    root: Path, folders: Sequence[str], rows: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    numbers = tuple(int(folder) for folder in folders)
    if max(numbers) >= rows or len(set(numbers)) < len(numbers):
        raise AlignmentError(
            f"{root}: its folders are numbers up to {max(numbers)}, and no class has such a name, "
            f"but the head has rows 0 to {rows - 1}",
            "name the folders like the classes, or pass --folders FILE with lines 'folder, class'",
        )
    return numbers, ("folders are numbers: taken as rows of the head, counted from 0",)
