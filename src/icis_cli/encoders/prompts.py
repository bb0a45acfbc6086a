"""Texts in which a text encoder meets a class, and the one row that becomes of them.

A name alone is no sentence, and encoders are trained on sentences: ``a photo of a tench.``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icis_cli.arrays import FloatArray, unit_rows
from icis_cli.encoders.base import Encoded, Encoding, NamedClass, codes_warning
from icis_cli.errors import UsageError

#: Turns N texts into (N, d) numbers.
Embed = Callable[[Sequence[str]], FloatArray]

#: For encoders of sentences. On held-out classes of an ImageNet classifier it did better than the
#: name alone, and as well as seven templates.
SENTENCE_PROMPTS = ("a photo of a {}.",)

#: For encoders that were trained with images: the seven of the eighty templates of CLIP's authors
#: that they found to do as well as all of them.
CLIP_PROMPTS = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

#: Classes whose texts are made at a time.
_BLOCK = 1024


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts, stripped.

    Raises:
        UsageError: one does not hold ``{}`` just once, or is given twice.

    """
    found = tuple(prompt.strip() for prompt in prompts)
    for prompt in found:
        if prompt.count("{}") != 1:
            raise UsageError(
                f"--prompt {prompt!r}: expected {{}} in it once, where the name goes",
                'e.g. --prompt "a photo of a {}."',
            )
        if found.count(prompt) > 1:
            raise UsageError(f"--prompt {prompt!r} is given twice")
    return found


def embed_classes(
    classes: Sequence[NamedClass], prompts: Sequence[str], embed: Embed
) -> FloatArray:
    """Describe each class by the mean of its texts.

    Every text is brought to unit length. The name and synonyms in all prompts make one mean, the
    describing texts another; where there are both, each counts for half: held-out classes are told
    apart best so.

    Returns:
        (C, d) rows of unit length; of zeros where the encoder knows no word.

    """
    parts = [
        _block(classes[start : start + _BLOCK], prompts, embed)
        for start in range(0, len(classes), _BLOCK)
    ]
    return np.concatenate(parts)


def _block(classes: Sequence[NamedClass], prompts: Sequence[str], embed: Embed) -> FloatArray:
    named = [[p.replace("{}", term) for term in one.terms for p in prompts] for one in classes]
    means = _means(named, embed)
    if any(one.texts for one in classes):
        described = _means([one.texts for one in classes], embed)
        means = unit_rows(means + described)
    return means


def _means(texts: Sequence[Sequence[str]], embed: Embed) -> FloatArray:
    """Return the mean direction of each class's texts (C, d); zeros where it has none."""
    owners = np.repeat(np.arange(len(texts)), [len(some) for some in texts])
    rows = unit_rows(np.asarray(embed([text for some in texts for text in some]), np.float32))
    means = np.zeros((len(texts), rows.shape[1]), dtype=np.float32)
    np.add.at(means, owners, rows)
    return unit_rows(means)


@dataclass(frozen=True)
class TextEncoder:
    """An encoder of texts; each kind of model makes one of these."""

    encoding: Encoding
    embed: Embed

    def encode(self, classes: Sequence[NamedClass], path: Path) -> Encoded:
        """Describe classes by their names in prompts, and by their texts."""
        values = embed_classes(classes, self.encoding.prompts, self.embed)
        return Encoded(values, self.encoding, warnings=codes_warning(path, classes))
