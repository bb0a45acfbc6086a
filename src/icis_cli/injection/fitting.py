"""From a checkpoint and aligned classes to an injector."""

from __future__ import annotations

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.alignment import AlignedClasses
from icis_cli.descriptors.views import ViewSpace
from icis_cli.files import sha256_of
from icis_cli.injection.injector import Injector, source_of
from icis_cli.methods.base import Method, SeenPairs, Watch
from icis_cli.methods.icis import Icis
from icis_cli.runtime import choose_device

_DEFAULT = Icis()


def fit(
    checkpoint: Checkpoint,
    head: Head,
    classes: AlignedClasses,
    method: Method = _DEFAULT,
    *,
    seed: int = 0,
    device: str = "cpu",
    views: ViewSpace | None = None,
    watch: Watch | None = None,
) -> Injector:
    """Learn from the seen classes how a descriptor becomes a row of the head.

    Args:
        checkpoint: the classifier.
        head: its final layer, from ``find_head``.
        classes: from ``align``.
        method: what to learn with.
        seed: of every random choice.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        views: how several views are weighed; None weighs them alike, and leaves one as it is.
        watch: told about every epoch.

    Returns:
        An injector, not yet saved.

    Raises:
        TrainingError: the loss is not finite, or the device is not there.
        ValueError: ``views`` are not those of ``classes``.

    """
    widths = tuple(view.width for view in classes.views)
    views = views or ViewSpace.equal(widths)
    if views.widths != widths:
        raise ValueError(f"views of widths {views.widths}, but the classes have {widths}")
    pairs = SeenPairs(views.enter(classes.seen), head.rows, views.enter(classes.unseen))
    fitted = method.fit(pairs, seed=seed, device=choose_device(device), watch=watch)
    return Injector(
        method=method.name,
        settings=method.settings(),
        seed=seed,
        predictor=fitted.predictor,
        seen_descriptors=classes.seen,
        unseen_descriptors=classes.unseen,
        seen_names=classes.seen_names,
        unseen_names=classes.unseen_names,
        seen_rows=classes.seen_rows,
        unseen_rows=classes.unseen_rows,
        source=source_of(checkpoint.path, sha256_of(checkpoint.path), head),
        descriptors=tuple((path.name, sha256_of(path)) for path in classes.sources),
        views=views,
        losses=fitted.training.losses,
        stopped=fitted.training.stopped,
    )
