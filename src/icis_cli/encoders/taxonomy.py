"""Taxonomies: a table of parent links, which describes a class by its ancestors.

Two classes are alike as far as they have ancestors in common. There is a column for every node that
two classes at least are below or at, 1 for those and 0 for all others.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from icis_cli.descriptors.names import simplified
from icis_cli.encoders.base import Encoded, Encoder, Encoding, NamedClass
from icis_cli.encoders.names_file import read_text
from icis_cli.errors import DescriptorError
from icis_cli.words import listed

KIND = "taxonomy"
SUFFIXES = (".csv", ".tsv")

_HEADER = ["child", "parent"]

#: Parents of each node.
_Links = Mapping[str, tuple[str, ...]]


def is_one(path: Path) -> bool:
    """Tell whether a path is that of a taxonomy."""
    return path.suffix.casefold() in SUFFIXES


def open_encoder(encoding: Encoding, *, download: bool) -> Encoder:  # noqa: ARG001 - always local
    """Read a taxonomy.

    Raises:
        DescriptorError: it is damaged, or a node is its own ancestor.

    """
    return Taxonomy(encoding, read_taxonomy(Path(encoding.path)))


@dataclass(frozen=True)
class Taxonomy:
    """A taxonomy.

    Attributes:
        encoding: with the columns that another set of classes had, or none.
        parents: of each node that has any.

    """

    encoding: Encoding
    parents: _Links

    def encode(self, classes: Sequence[NamedClass], path: Path) -> Encoded:
        """Describe classes by the nodes at and above them.

        Nodes above all of the classes tell nothing and have no column. A class that has no
        ancestor in common with any other is described by a column of its own.
        """
        source = Path(self.encoding.path)
        starts = _found(classes, self.parents, source, path)
        above = [_ancestors(self.parents, start) for start in starts]
        columns = self.encoding.columns or _columns(above, starts)
        self._require_columns(source, columns)
        places = {node: place for place, node in enumerate(columns)}
        values = np.zeros((len(classes), len(columns)), dtype=np.float32)
        for row, nodes in zip(values, above, strict=True):
            row[[places[node] for node in nodes if node in places]] = 1
        alone = [one.name for one, row in zip(classes, values, strict=True) if not row.any()]
        if alone:
            raise DescriptorError(
                source,
                f"{len(alone)} class(es) have no ancestor in common with those that fit had: "
                f"{listed([repr(name) for name in alone])}",
                "run icis fit again with them, or leave them out",
            )
        encoding = replace(self.encoding, columns=tuple(columns))
        return Encoded(values, encoding, _notes(source, starts, above, columns))

    def _require_columns(self, source: Path, columns: Sequence[str]) -> None:
        nodes = {*self.parents, *(up for ups in self.parents.values() for up in ups)}
        gone = [node for node in columns if node not in nodes]
        if gone:
            raise DescriptorError(
                source,
                f"lacks {len(gone)} nodes that it had before, first {gone[0]!r}",
                "add to a taxonomy, but take nothing away; or run icis fit again",
            )


def _columns(above: Sequence[frozenset[str]], starts: Sequence[str]) -> tuple[str, ...]:
    counts = Counter(node for nodes in above for node in nodes)
    shared = {node for node, count in counts.items() if 2 <= count < len(above)}
    own = (start for start, nodes in zip(starts, above, strict=True) if not nodes & shared)
    return tuple(sorted({*shared, *own}))


def _notes(
    source: Path,
    starts: Sequence[str],
    above: Sequence[frozenset[str]],
    columns: Sequence[str],
) -> tuple[str, ...]:
    """Tell which classes are like no other."""
    counts = Counter(node for nodes in above for node in nodes & set(columns))
    alone = [
        start
        for start, nodes in zip(starts, above, strict=True)
        if all(counts[node] == 1 for node in nodes & set(columns))
    ]
    if not alone or len(starts) == 1:
        return ()
    shown = ", ".join(map(repr, alone[:5])) + (", ..." if alone[5:] else "")
    return (f"{source}: nothing tells what these classes ({len(alone)}) are like: {shown}",)


def read_taxonomy(path: Path) -> _Links:
    """Read a table with the header ``child,parent``, one link a line; a child may have several.

    Raises:
        DescriptorError: no such table, an empty cell, or a node that is its own ancestor.

    """
    text = read_text(path)
    first = text.lstrip("\n").partition("\n")[0]
    separator = max(("\t", ";", ","), key=first.count)
    parents: dict[str, list[str]] = defaultdict(list)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells)
        _, header = next(lines, (0, []))
        if [cell.casefold() for cell in header] != _HEADER:
            raise DescriptorError(
                path,
                f"its first line is {','.join(header)[:60]!r}, expected 'child,parent'",
                "a taxonomy has one link a line; a table of numbers is for --attrs",
            )
        for number, cells in lines:
            if len(cells) != 2 or not all(cells):
                raise DescriptorError(
                    path, f"line {number}: expected a child and a parent, found {len(cells)} cells"
                )
            child, parent = cells
            if parent not in parents[child]:
                parents[child].append(parent)
    except csv.Error as error:
        raise DescriptorError(
            path, f"is no readable text table ({error})", "save it as CSV in UTF-8"
        ) from None
    if not parents:
        raise DescriptorError(path, "has a header but no link below it")
    links = {child: tuple(ups) for child, ups in parents.items()}
    _refuse_cycles(path, links)
    return links


def _refuse_cycles(path: Path, links: _Links) -> None:
    """Walk up from every node, depth first and without recursion."""
    done: set[str] = set()
    for start in links:
        trail: list[str] = []
        on_trail: set[str] = set()
        waiting = [(start, False)]
        while waiting:
            node, left = waiting.pop()
            if left:
                done.add(node)
                on_trail.discard(trail.pop())
            elif node in on_trail:
                loop = [*trail[trail.index(node) :], node]
                shown = " > ".join(loop if len(loop) <= 6 else [*loop[:5], "...", node])
                raise DescriptorError(path, f"a node is its own ancestor: {shown}")
            elif node not in done:
                trail.append(node)
                on_trail.add(node)
                waiting.append((node, True))
                waiting += [(parent, False) for parent in links.get(node, ())]


def _ancestors(links: _Links, start: str) -> frozenset[str]:
    """Return the node and everything above it."""
    found, waiting = {start}, [start]
    while waiting:
        for parent in links.get(waiting.pop(), ()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return frozenset(found)


def _found(
    classes: Sequence[NamedClass], links: _Links, source: Path, path: Path
) -> tuple[str, ...]:
    """Return the node of each class: that of its name, else of its first synonym that is one."""
    nodes = dict.fromkeys([*links, *(up for ups in links.values() for up in ups)])
    loose: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        loose[simplified(node)].append(node)
    found: list[str] = []
    missing: list[str] = []
    for one in classes:
        names = (one.name, *one.synonyms)
        choices = next(
            ([n] if n in nodes else loose[simplified(n)] for n in names if _is_in(n, nodes, loose)),
            [],
        )
        if len(choices) > 1:
            raise DescriptorError(
                source,
                f"class {one.name!r} of {path} matches several nodes: "
                f"{', '.join(map(repr, choices[:4]))}",
            )
        if choices:
            found.append(choices[0])
        else:
            missing.append(one.name)
    if missing:
        near = difflib.get_close_matches(missing[0], nodes, n=1, cutoff=0.6)
        suggestion = f" (did you mean {near[0]!r}?)" if near else ""
        raise DescriptorError(
            source,
            f"has no node for {len(missing)} of {len(classes)} classes of {path}, first "
            f"{missing[0]!r}{suggestion}",
            "add a link for it, or write the name of its node after it: name | node",
        )
    return tuple(found)


def _is_in(name: str, nodes: Mapping[str, None], loose: Mapping[str, list[str]]) -> bool:
    return name in nodes or simplified(name) in loose
