"""From an expanded checkpoint and samples to an evaluation."""

from __future__ import annotations

from icis_cli.errors import AlignmentError, FeatureError
from icis_cli.evaluation.answers import SampleWatch, answer_features
from icis_cli.evaluation.features import Features
from icis_cli.evaluation.known import KnownHead
from icis_cli.evaluation.result import Evaluation, evaluation_of
from icis_cli.workers import ALONE, Workers


def evaluate_features(
    known: KnownHead,
    features: Features,
    workers: Workers = ALONE,
    watch: SampleWatch | None = None,
) -> Evaluation:
    """Evaluate a head on its own inputs.

    Args:
        known: from ``known_head``.
        features: inputs of the head with labels.
        workers: processes that share the samples; all get the same evaluation.
        watch: told about every block of samples.

    Raises:
        FeatureError: another width than the head's, labels that are no class of it, values that
            are not finite, or so large that a logit is not.
        AlignmentError: the head has no new class, or no seen one.

    """
    head = known.head
    require_both_sides(known)
    if features.values.shape[1] != head.weight.shape[1]:
        raise FeatureError(
            features.path,
            f"features have {features.values.shape[1]} columns, but the head "
            f"{head.key!r} takes {head.weight.shape[1]}",
            "use the inputs of the final layer of this very network",
        )
    labels = known.label_map.head_rows(features.labels, features.path)
    answers = answer_features(
        features.values,
        labels,
        head.weight,
        head.bias,
        known.seen_classes,
        path=features.path,
        workers=workers,
        watch=watch,
    )
    return evaluation_of(answers, known.names, known.seen_classes)


def require_both_sides(known: KnownHead) -> None:
    """Refuse a head without new, or without seen, classes: there is nothing to compare.

    Raises:
        AlignmentError: one side is empty.

    """
    if not 0 < known.seen_classes < len(known.names):
        raise AlignmentError(
            f"of the {len(known.names)} rows of the head {known.seen_classes} are seen: there "
            "must be seen and new classes to evaluate an injection"
        )
