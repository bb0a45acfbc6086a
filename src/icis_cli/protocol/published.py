"""Published figures of ICIS, to be shown beside a user's own where the data are of their kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Figures of the paper: per-class mean top-1 accuracies in 0..1.

    Attributes:
        dataset: name of the data set.
        classes: C, seen and unseen.
        zsl_top1: unseen samples, the answer sought among unseen classes only.
        unseen, seen, harmonic: the answer sought among all classes.

    """

    dataset: str
    classes: int
    zsl_top1: float
    unseen: float
    seen: float
    harmonic: float


#: Where the figures are from.
SOURCE = "Christensen et al., ICCV 2023 (arXiv 2308.10599), ResNet-101 fine-tuned on seen classes"

#: Width of the paper's features.
FEATURE_WIDTH = 2048

PUBLISHED: tuple[Published, ...] = (
    Published("CUB", 200, 0.606, 0.458, 0.737, 0.565),
    Published("AWA2", 50, 0.646, 0.356, 0.933, 0.516),
    Published("SUN", 717, 0.518, 0.452, 0.256, 0.327),
)


def published_for(name: str, *, width: int, classes: int) -> Published | None:
    """Return the paper's figures for a data set, or None where they say nothing about it.

    Args:
        name: of the data set, e.g. ``"CUB"``, in any case.
        width: D, numbers per feature.
        classes: C, number of classes.

    Returns:
        None unless the name is one of the paper's data sets with that many classes and the
        features are as wide as the paper's. Features of that width need not be the paper's own:
        the published xlsa17 ones are not fine-tuned. Say so beside the figures.

    """
    if width != FEATURE_WIDTH:
        return None
    return next(
        (p for p in PUBLISHED if p.dataset == name.upper() and p.classes == classes),
        None,
    )
