#!/usr/bin/env python3
"""Make the class descriptors of the 1000 ImageNet classes from WordNet 3.0.

ImageNet's class ids are WordNet 3.0 noun offsets, so WordNet alone can describe every class; no
image, no network and no trained language model takes part. Two descriptor files can be made:

``--view walk`` (the default, the better one)
    From every class a random walker sets out over WordNet: from a synset to a related synset
    (kinds, parts, members, domains, ...) or to a word of its definition or name, from a word to
    a synset that uses it; before each step it may start over. What a class's walker visits more
    often than the walkers of the other classes do describes that class. These visit counts
    (positive pointwise mutual information) are reduced to a few columns by an eigendecomposition.

``--view ancestors``
    One readable column for each WordNet ancestor that at least two classes have in common
    ("dog", "vehicle", ...). A class has log(classes / classes below the ancestor) in the columns
    of its ancestors and 0 elsewhere.

Usage, with Debian's package ``wordnet-base`` (or any copy of WordNet 3.0's ``dict`` folder)::

    python make_descriptors.py --wordnet /usr/share/wordnet --classes classes.csv -o descriptors.npz

The output holds ``descriptors`` (classes, columns) float16 and ``names`` (classes,), and for
``--view ancestors`` also ``columns`` (columns,). It needs numpy and scipy.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

FloatArray = npt.NDArray[np.float64]

HYPERNYMS = ("@", "@i")
"""WordNet's pointer symbols for "is a kind of" and "is an instance of"."""

COMMON = 0.005
"""A word that a larger part of all synsets uses ("the", "large") says nothing about any of them."""


@dataclass(frozen=True)
class Synset:
    """One noun synset: its words, its definition and its links to other nouns."""

    lemmas: tuple[str, ...]
    definition: str
    links: tuple[tuple[str, str], ...]
    """Pairs (pointer symbol, offset of the other noun synset)."""


def read_nouns(dict_dir: Path) -> dict[str, Synset]:
    """Read ``data.noun`` of WordNet 3.0; keys are the eight-digit offsets, in file order."""
    nouns: dict[str, Synset] = {}
    with (dict_dir / "data.noun").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith(" "):  # the licence
                continue
            record, _, gloss = line.partition("|")
            fields = record.split()
            n_lemmas = int(fields[3], 16)
            start = 4 + 2 * n_lemmas
            pointers = [
                fields[i : i + 4] for i in range(start + 1, start + 1 + 4 * int(fields[start]), 4)
            ]
            nouns[fields[0]] = Synset(
                lemmas=tuple(lemma.replace("_", " ") for lemma in fields[4:start:2]),
                definition=gloss.partition('"')[0].strip(" ;\n"),  # the rest are example sentences
                links=tuple((symbol, target) for symbol, target, pos, _ in pointers if pos == "n"),
            )
    return nouns


def read_classes(path: Path) -> tuple[list[str], list[str]]:
    """Read the class list, a CSV file with the columns ``wnid`` and ``name``."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wnids, names = [row["wnid"] for row in rows], [row["name"] for row in rows]
    for what, values in (("wnid", wnids), ("name", names)):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise SystemExit(f"{path}: {what} given more than once: {', '.join(twice)}")
    return wnids, names


def class_offsets(wnids: Sequence[str], nouns: dict[str, Synset]) -> list[str]:
    """Turn wnids (``n01440764``) into WordNet offsets (``01440764``), checking that they exist."""
    offsets = [wnid.removeprefix("n") for wnid in wnids]
    missing = [wnid for wnid, offset in zip(wnids, offsets, strict=True) if offset not in nouns]
    if missing:
        raise SystemExit(
            f"{len(missing)} wnids are not noun offsets of this WordNet, e.g. {missing[0]}: "
            "is it version 3.0?"
        )
    return offsets


def ancestors(offset: str, nouns: dict[str, Synset]) -> set[str]:
    """Return the synset and everything above it."""
    found, queue = {offset}, [offset]
    while queue:
        for symbol, target in nouns[queue.pop()].links:
            if symbol in HYPERNYMS and target not in found:
                found.add(target)
                queue.append(target)
    return found


def ancestor_view(offsets: Sequence[str], nouns: dict[str, Synset]) -> tuple[FloatArray, list[str]]:
    """Describe each class by its ancestors; return the matrix and the names of its columns."""
    above = [ancestors(offset, nouns) for offset in offsets]
    counts = Counter(ancestor for found in above for ancestor in found)
    columns = sorted(ancestor for ancestor, count in counts.items() if 2 <= count < len(offsets))
    index = {ancestor: i for i, ancestor in enumerate(columns)}
    matrix = np.zeros((len(offsets), len(columns)))
    for row, found in zip(matrix, above, strict=True):
        for ancestor in found & index.keys():
            row[index[ancestor]] = math.log(len(offsets) / counts[ancestor])
    return matrix, [f"{nouns[column].lemmas[0]} (n{column})" for column in columns]


def words_of(synset: Synset, vocabulary: set[str]) -> set[str]:
    """Return the words of a synset's names and definition; plurals become known singulars."""
    words = re.findall(r"[a-z]{2,}", " ".join((*synset.lemmas, synset.definition)).lower())
    return {singular(word, vocabulary) for word in words}


def singular(word: str, vocabulary: set[str]) -> str:
    """Return the singular of a regular plural when WordNet knows it, else the word itself."""
    if not word.endswith("ss"):
        for ending, replacement in (("ies", "y"), ("es", ""), ("s", "")):
            stem = word.removesuffix(ending) + replacement
            if word.endswith(ending) and stem in vocabulary:
                return stem
    return word


def transition_matrix(
    nouns: dict[str, Synset], word_weight: float
) -> tuple[sp.csr_array, dict[str, int]]:
    """Build the walker's step: a row-stochastic matrix over all noun synsets and all words.

    A link between synsets weighs 1; a link between a synset and a word weighs ``word_weight`` for
    a word that only one synset uses, less the more synsets use it, and 0 for common words.
    Returns the matrix and the node number of each synset (words follow the synsets).
    """
    node = {offset: i for i, offset in enumerate(nouns)}
    vocabulary = {lemma.lower() for synset in nouns.values() for lemma in synset.lemmas}
    links = [
        (node[offset], node[target])
        for offset, synset in nouns.items()
        for _, target in synset.links
    ]
    word_node: dict[str, int] = {}
    uses = [
        (node[offset], word_node.setdefault(word, len(word_node)))
        for offset, synset in nouns.items()
        for word in sorted(words_of(synset, vocabulary))
    ]
    source, target = np.array(links).T
    user, word = np.array(uses).T
    count = np.bincount(word)
    rarity = np.where(count > COMMON * len(nouns), 0, 1 - np.log(count) / math.log(len(nouns)))
    weight = word_weight * rarity[word]
    word = word + len(nouns)
    size = len(nouns) + len(word_node)
    values = np.concatenate([np.ones(len(source)), weight, weight])
    position = (np.concatenate([source, user, word]), np.concatenate([target, word, user]))
    graph = sp.csr_array((values, position), shape=(size, size))
    total = graph.sum(axis=1)
    return sp.csr_array(sp.diags_array(1 / np.where(total > 0, total, 1)) @ graph), node


def visits(
    step: sp.csr_array,
    starts: Sequence[int],
    go_on: float,
    n_steps: int,
    least: float,
    batch: int = 100,
) -> sp.csr_array:
    """Return how often the walker that starts at each of ``starts`` is at each node.

    Each of ``n_steps`` times it steps with probability ``go_on`` and else returns to its start.
    Probabilities below ``least`` are dropped.
    """
    backward = sp.csr_array(step.T, dtype=np.float32)
    parts = []
    for first in range(0, len(starts), batch):
        nodes = list(starts[first : first + batch])
        home = np.zeros((step.shape[0], len(nodes)), dtype=np.float32)
        home[nodes, range(len(nodes))] = 1
        at = home
        for _ in range(n_steps):
            at = go_on * (backward @ at) + (1 - go_on) * home
        parts.append(sp.csr_array(np.where(at > least, at, 0).T))
    return sp.csr_array(sp.vstack(parts))


def walk_view(
    offsets: Sequence[str],
    nouns: dict[str, Synset],
    dim: int = 200,
    word_weight: float = 0.5,
    go_on: float = 0.93,
    n_steps: int = 15,
    least: float = 1e-5,
) -> FloatArray:
    """Describe each class by what a random walk over WordNet visits from it, in ``dim`` columns."""
    step, node = transition_matrix(nouns, word_weight)
    seen = visits(step, [node[offset] for offset in offsets], go_on, n_steps, least)
    seen = seen[:, (seen > 0).sum(axis=0) >= 2].astype(np.float64).tocoo()
    usual = seen.sum(axis=0) / seen.shape[0]
    surprise = np.maximum(np.log(seen.data / usual[seen.coords[1]]), 0)
    surprise = sp.csr_array((surprise, seen.coords), shape=seen.shape)
    gram = (surprise @ surprise.T).toarray()
    norm = np.sqrt(np.diag(gram))
    values, vectors = np.linalg.eigh(gram / np.outer(norm, norm))
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    vectors = vectors * np.where(
        vectors.sum(axis=0) < 0, -1.0, 1.0
    )  # an eigenvector's sign is free
    return unit_rows(vectors * np.sqrt(np.maximum(values, 0)))


def unit_rows(matrix: FloatArray) -> FloatArray:
    """Scale every row to length 1."""
    scaled: FloatArray = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return scaled


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(
        description="Make ImageNet class descriptors from WordNet 3.0."
    )
    parser.add_argument(
        "--wordnet",
        type=Path,
        required=True,
        metavar="DICT_DIR",
        help="folder with WordNet 3.0's data.noun (Debian's wordnet-base: /usr/share/wordnet)",
    )
    parser.add_argument(
        "--classes",
        type=Path,
        default=here / "classes.csv",
        help="CSV file with the columns wnid,name in the classifier's order (default: beside this)",
    )
    parser.add_argument(
        "--view", choices=("walk", "ancestors"), default="walk", help="which descriptors to make"
    )
    parser.add_argument(
        "--dim", type=int, default=200, help="columns of the walk view (default: 200)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .npz file to write")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    wnids, names = read_classes(args.classes)
    nouns = read_nouns(args.wordnet)
    offsets = class_offsets(wnids, nouns)
    arrays: dict[str, npt.NDArray[np.generic]] = {"names": np.array(names)}
    if args.view == "ancestors":
        matrix, columns = ancestor_view(offsets, nouns)
        arrays["columns"] = np.array(columns)
        arrays["descriptors"] = matrix.astype(np.float16)
    else:
        matrix = walk_view(offsets, nouns, dim=args.dim)
        # Multiples of 1/64 are exact in float16 and compress to under a byte each.
        arrays["descriptors"] = (np.round(matrix * 64) / 64 + 0.0).astype(np.float16)
    np.savez_compressed(args.output, allow_pickle=False, **arrays)
    shape = arrays["descriptors"].shape
    print(
        f"{args.output}: {shape[0]} classes x {shape[1]} columns, "
        f"{args.output.stat().st_size / 1000:.0f} kB"
    )


if __name__ == "__main__":
    main()
