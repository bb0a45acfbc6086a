"""From a checkpoint and aligned classes to an injector."""

from __future__ import annotations

from icis_cli.checkpoint.base import Checkpoint
from icis_cli.checkpoint.head import Head
from icis_cli.descriptors.alignment import AlignedClasses
from icis_cli.descriptors.views import ViewSpace
from icis_cli.encoders.base import Encoding
from icis_cli.files import sha256_of
from icis_cli.injection.injector import Injector, source_of
from icis_cli.methods.base import Method, SeenPairs, Setting, Watch
from icis_cli.methods.ensemble import fit_ensemble
from icis_cli.methods.icis import Icis
from icis_cli.runtime import choose_device, library_versions
from icis_cli.validation.heldout import HeldOut, affordable_folds, hold_out

_DEFAULT = Icis()


def seen_pairs(head: Head, classes: AlignedClasses, views: ViewSpace | None = None) -> SeenPairs:
    """Return what a method learns from.

    Args:
        head: of the classifier.
        classes: from ``align``.
        views: how several views are weighed; None weighs them alike, and leaves one as it is.

    Raises:
        ValueError: ``views`` are not those of ``classes``.

    """
    widths = tuple(view.width for view in classes.views)
    views = views or ViewSpace.equal(widths)
    if views.widths != widths:
        raise ValueError(f"views of widths {views.widths}, but the classes have {widths}")
    return SeenPairs(views.enter(classes.seen), head.rows, views.enter(classes.unseen))


def default_folds(method: Method, classes: int) -> int:
    """Return in how many folds seen classes are held out unasked; 0 where that is dear."""
    return affordable_folds(classes) if method.cheap else 0


def fit(
    checkpoint: Checkpoint,
    head: Head,
    classes: AlignedClasses,
    method: Method = _DEFAULT,
    *,
    seed: int = 0,
    device: str = "cpu",
    views: ViewSpace | None = None,
    members: int = 1,
    folds: int | None = None,
    held: HeldOut | None = None,
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
        members: of an ensemble; each is trained with a seed of its own, and their rows averaged.
        folds: in which seen classes are held out, for figures, calibration and certainty; 0 for
            none, None for as many as are cheap.
        held: held-out rows that a selection has made already; ``folds`` then do not matter.
        watch: told about every epoch.

    Returns:
        An injector, not yet saved.

    Raises:
        TrainingError: the loss is not finite, the device is not there, or too few seen classes
            for so many folds.
        ValueError: ``views`` are not those of ``classes``.

    """
    views = views or ViewSpace.equal(tuple(view.width for view in classes.views))
    pairs = seen_pairs(head, classes, views)
    device = choose_device(device) if method.seeded else "cpu"  # torch takes seconds to import
    if folds is None:
        folds = default_folds(method, len(pairs.rows))
    if held is None and folds:
        held = hold_out(method, pairs, folds, members=members, seed=seed, device=device)
    encodings = tuple(view.encoding for view in classes.views)
    columns = tuple(view.columns for view in classes.views)
    fitted = fit_ensemble(method, pairs, members, seed=seed, device=device, watch=watch)
    return Injector(
        method=method.name,
        settings={
            **method.settings(),
            **({"ensemble": members} if members > 1 else {}),
            **_told(encodings),
        },
        seed=seed,
        predictor=fitted.predictor,
        seen_descriptors=classes.seen,
        unseen_descriptors=classes.unseen,
        seen_names=classes.seen_names,
        unseen_names=classes.unseen_names,
        seen_rows=classes.seen_rows,
        unseen_rows=classes.unseen_rows,
        source=source_of(checkpoint.origin, checkpoint.sha256(), head, checkpoint.entry),
        descriptors=tuple((path.name, sha256_of(path)) for path in classes.sources),
        views=views,
        losses=fitted.training.losses,
        stopped=fitted.training.stopped,
        held=held,
        libraries=library_versions(),
        encodings=encodings if any(encodings) else (),
        columns=columns if any(columns) else (),
    )


def _told(encodings: tuple[Encoding | None, ...]) -> dict[str, Setting]:
    """Return what a record tells of an encoder."""
    made = [encoding for encoding in encodings if encoding is not None]
    told: dict[str, Setting] = {}
    if made:
        told["encoder"] = "; ".join(one.label for one in made)
    prompts = [" | ".join(one.prompts) for one in made if one.prompts]
    if prompts:
        told["prompts"] = "; ".join(prompts)
    return told
