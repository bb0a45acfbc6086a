"""How well class names describe classes: what is encoded, and how.

    python -m benchmarks.names DATA WORDNET MODEL

``DATA`` is the folder of the ImageNet classifier, ``WORDNET`` a copy of WordNet 3.0's ``dict``
(Debian: wordnet-base), ``MODEL`` the folder of a sentence-transformers model. Of the 800 seen
classes, held out in five folds, with ``--method ridge``: share of stand-ins told apart, and share
of classes whose true row is the nearest. They are what the defaults were chosen by. Last, T1 of the
200 other classes on photographs, which took no part in that. All in %.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from examples.imagenet.make_descriptors import read_nouns

import icis_cli as icis
from benchmarks.calibration import Case, evaluated, imagenet
from icis_cli.arrays import FloatArray
from icis_cli.encoders.base import NamedClass
from icis_cli.encoders.prompts import CLIP_PROMPTS, SENTENCE_PROMPTS
from icis_cli.encoders.registry import KINDS, find_encoder
from icis_cli.methods.base import SeenPairs
from icis_cli.methods.ridge import Ridge
from icis_cli.validation.heldout import judge
from icis_cli.validation.selection import select_method

_CLASSES = Path(__file__).parents[1] / "examples/imagenet/classes.csv"
_BOTH = ("{}", *SENTENCE_PROMPTS)

#: Returns a row per class, (1000, d), for prompts and classes.
Encode = Callable[[tuple[str, ...], list[NamedClass]], FloatArray]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("data", "wordnet", "model"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    case = next(imagenet(options.data))
    new = [int(x) for x in icis.read_lines(options.data / "unseen_indices.txt")]
    order = [*(row for row in range(1000) if row not in set(new)), *new]

    def encode(prompts: tuple[str, ...], classes: list[NamedClass]) -> FloatArray:
        encoding = find_encoder(str(options.model), prompts)
        encoder = KINDS[encoding.kind].open_encoder(encoding, download=False)
        return encoder.encode(classes, _CLASSES).values[order]

    print("| what is encoded | told apart % | nearest row is right % | T1 % of new classes |")
    print("| --- | ---: | ---: | ---: |")
    vectors = np.concatenate([case.seen, case.unseen])
    for label, table in tables(encode, options.wordnet, vectors):
        print(f"| {label} | {' | '.join(f'{x:.1f}' for x in measured(case, table))} |", flush=True)


def tables(encode: Encode, wordnet: Path, vectors: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    """Yield each way to describe the classes, with the rows (1000, d), seen classes first."""
    nouns = read_nouns(wordnet)
    with _CLASSES.open(encoding="utf-8", newline="") as stream:
        listed = [(row["wnid"], row["name"]) for row in csv.DictReader(stream)]
    synsets = [nouns[wnid.removeprefix("n")] for wnid, _ in listed]
    plain = [NamedClass(name) for _, name in listed]
    synonyms = [
        NamedClass(one.name, tuple(lemma for lemma in synset.lemmas if lemma != one.name))
        for one, synset in zip(plain, synsets, strict=True)
    ]
    told = [
        NamedClass(one.name, texts=(synset.definition,))
        for one, synset in zip(plain, synsets, strict=True)
    ]
    alone = [NamedClass(synset.definition) for synset in synsets]
    yield "name alone", encode(("{}",), plain)
    yield "`a photo of a {}.` (the default)", encode(SENTENCE_PROMPTS, plain)
    yield "both averaged", encode(_BOTH, plain)
    yield "CLIP's seven templates", encode(CLIP_PROMPTS, plain)
    yield "the default, WordNet's synonyms averaged", encode(SENTENCE_PROMPTS, synonyms)
    yield "definition alone", encode(("{}",), alone)
    texts = encode(SENTENCE_PROMPTS, told)
    yield "the default and the definition, half each (what a `text` column does)", texts
    yield "ConceptNet's word vectors", vectors
    space = icis.ViewSpace.equal((vectors.shape[1], texts.shape[1]))
    yield "word vectors and definitions, as two views", space.enter(np.hstack([vectors, texts]))


def measured(case: Case, table: FloatArray) -> tuple[float, float, float]:
    """Return the figures of a line of the table, in %."""
    pairs = SeenPairs(table[: len(case.rows)], case.rows, table[len(case.rows) :])
    selection = select_method([Ridge()], pairs, case.rows.shape[1] - 1)
    figures = judge(case.rows, selection.held)
    new = Ridge().fit(pairs, seed=0).predictor.predict(pairs.unseen)
    top = evaluated(case, new).zsl_top1
    return 100 * selection.candidates[0].score, 100 * figures.retrieval, 100 * (top or 0)


if __name__ == "__main__":
    main()
