"""Figures of an HTML report as SVG: vector graphics whose colours are the page's style's.

Each is as wide as a phone in units of its view box, so that its words can be read there. Whatever
comes from a file is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from icis_cli.errors import printable
from icis_cli.evaluation.metrics import harmonic_mean
from icis_cli.evaluation.result import Evaluation
from icis_cli.html.data import Point

#: Of longer names the rest is left out, of longer lines most points.
_LONGEST, _MOST_POINTS = 80, 400
#: On a map, so many new classes are named beside their marks, by no more characters than this.
_MOST_LABELS, _LONGEST_LABEL = 30, 18
_WIDTH, _HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 12, 40


def shown(text: object) -> str:
    """Return a text from a file as HTML: one line, not too long, and nothing but text."""
    plain = printable(text)
    return escape(plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…")


def loss_curve(losses: Sequence[float]) -> str:
    """Draw the mean loss of each epoch; at least one."""
    top = max(max(losses), 0.0) or 1.0
    frame = _Frame((1.0, float(max(len(losses), 2))), (min(0.0, *losses), top), "epoch", "loss")
    epochs = _spread(len(losses))
    line = frame.line((at + 1.0, losses[at]) for at in epochs)
    label = f"Loss of {len(losses)} epochs, from {losses[0]:.3g} to {losses[-1]:.3g}"
    return frame.drawn(label, [f'<path class="line" d="{line}"/>'])


def accuracy_curve(evaluation: Evaluation) -> str:
    """Draw accuracy on new classes over that on seen ones, as an offset moves; mark both points."""
    curve = evaluation.curve
    frame = _Frame((0.0, 100.0), (0.0, 100.0), "seen classes right (%)", "new classes right (%)")
    points = [
        (100 * float(curve.seen[at]), 100 * float(curve.unseen[at]))
        for at in _spread(len(curve.seen))
    ]
    harmonic = [
        harmonic_mean(float(seen), float(new))
        for seen, new in zip(curve.seen, curve.unseen, strict=True)
    ]
    best = int(np.argmax(harmonic))
    x, y = frame.place(100 * float(curve.seen[best]), 100 * float(curve.unseen[best]))
    own = frame.place(100 * evaluation.seen, 100 * evaluation.unseen)
    label = (
        f"Accuracy on new classes over accuracy on seen ones. This checkpoint: "
        f"{100 * evaluation.seen:.1f} % and {100 * evaluation.unseen:.1f} %"
    )
    parts = [
        f'<path class="line" d="{frame.line(points)}"/>',
        f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>best offset</title></circle>',
        f'<path class="new" d="{_diamond(*own, 7)}"><title>this checkpoint</title></path>',
    ]
    return frame.drawn(label, parts)


def length_histograms(groups: Sequence[tuple[str, str, Sequence[float]]]) -> str:
    """Draw histograms of lengths above each other, on one axis.

    Args:
        groups: words, CSS class and lengths (at least one) of each.

    """
    longest = max(max(lengths) for _, _, lengths in groups)
    end = longest * 1.02 or 1.0
    bins, height, gap = 40, 62, 26
    bottom = len(groups) * (height + gap)
    step = (_WIDTH - 2 * _RIGHT) / bins
    parts = []
    for number, (words, kind, lengths) in enumerate(groups):
        base = (number + 1) * (height + gap)
        counts, _ = np.histogram(lengths, bins=bins, range=(0.0, end))
        middle = float(np.median(lengths))
        tall = counts / counts.max() * (height - 4)
        parts.append(
            f'<text x="{_RIGHT}" y="{base - height - 6}">{shown(words)}: '
            f"half are longer than {middle:.3g}</text>"
        )
        parts += [
            f'<rect class="{kind}" x="{_RIGHT + at * step:.1f}" y="{base - size:.1f}" '
            f'width="{step - 1:.1f}" height="{size:.1f}"/>'
            for at, size in enumerate(tall)
            if size
        ]
        x = _RIGHT + middle / end * step * bins
        parts.append(f'<path class="mark" d="M{x:.1f} {base - height}V{base}"/>')
        parts.append(f'<path class="axis" d="M{_RIGHT} {base}H{_WIDTH - _RIGHT}"/>')
    for share in (0.0, 0.5, 1.0):
        x = _RIGHT + share * step * bins
        anchor = ("start", "middle", "end")[round(2 * share)]
        parts.append(
            f'<text class="tick" x="{x:.0f}" y="{bottom + 18}" text-anchor="{anchor}">'
            f"{share * end:.3g}</text>"
        )
    label = "Lengths of rows: " + "; ".join(words for words, _, _ in groups)
    return _svg(label, _WIDTH, bottom + 26, parts)


def row_map(points: Sequence[Point]) -> str:
    """Draw the map of rows: seen ones as dots, new ones as diamonds over them, each with a name."""
    places = np.array([[point.x, point.y] for point in points])
    low, high = places.min(axis=0), places.max(axis=0)
    size = float((high - low).max()) or 1.0  # the same scale on both axes
    width, height, margin = 400, 340, 12
    scale = min((width - 2 * margin) / size, (height - 2 * margin) / size)
    middle = (low + high) / 2
    parts: list[str] = []
    labels: list[str] = []
    taken: list[tuple[float, float, float]] = []
    named = sum(point.kind == "new" for point in points) <= _MOST_LABELS
    for point in sorted(points, key=lambda one: one.kind == "new"):
        x = width / 2 + (point.x - middle[0]) * scale
        y = height / 2 - (point.y - middle[1]) * scale
        words = f"{shown(point.name)} ({point.kind})"
        shape = (
            f'<circle class="seen" cx="{x:.1f}" cy="{y:.1f}" r="3">'
            if point.kind == "seen"
            else f'<path class="new" d="{_diamond(x, y, 4.5)}">'
        )
        parts.append(f"{shape}<title>{words}</title></{shape[1:].split(' ', 1)[0]}>")
        if named and point.kind == "new":
            labels += _label(point.name, x, y, width, taken)
    label = f"Map of {len(points)} rows; similar rows lie together"
    return _svg(label, width, height, [*parts, *labels], kind="map")


def _label(
    name: str, x: float, y: float, width: float, taken: list[tuple[float, float, float]]
) -> list[str]:
    """Return the name beside a mark, nothing where another name is in the way.

    Args:
        name: to write.
        x: where the mark is, across.
        y: where the mark is, down.
        width: of the figure.
        taken: left end, right end and height of the names there are; this one is added.

    """
    plain = printable(name)
    text = plain if len(plain) <= _LONGEST_LABEL else f"{plain[: _LONGEST_LABEL - 1]}…"
    length = 7 * len(text)
    for left, anchor, at in ((x + 8, "start", x + 8), (x - 8 - length, "end", x - 8)):
        free = all(
            left + length < begin or end < left or abs(y - height) > 12
            for begin, end, height in taken
        )
        if free and left > 0 and left + length < width:
            taken.append((left, left + length, y))
            place = f'x="{at:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}"'
            return [f'<text class="name" {place}>{escape(text)}</text>']
    return []


def _spread(count: int) -> list[int]:
    """Return positions among so many: all of them, or some at even steps with both ends."""
    places = np.linspace(0, count - 1, min(count, _MOST_POINTS))
    return [int(place) for place in np.unique(places.astype(int))]


def _diamond(x: float, y: float, size: float) -> str:
    return f"M{x - size:.1f} {y:.1f}L{x:.1f} {y - size:.1f}l{size} {size}l-{size} {size}Z"


@dataclass(frozen=True)
class _Frame:
    """Two axes: the values at their ends, and what they are of."""

    xs: tuple[float, float]
    ys: tuple[float, float]
    x_words: str
    y_words: str

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a pair of values lies in the view box."""
        (x0, x1), (y0, y1) = self.xs, self.ys
        across = (x - x0) / (x1 - x0)
        up = (y - y0) / (y1 - y0)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def line(self, values: Iterable[tuple[float, float]]) -> str:
        """Return the path through pairs of values."""
        places = [self.place(x, y) for x, y in values]
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)

    def drawn(self, label: str, parts: Sequence[str]) -> str:
        """Return the figure with its axes below ``parts``."""
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        axes = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']
        for share in (0.0, 0.5, 1.0):
            x_value = self.xs[0] + share * (self.xs[1] - self.xs[0])
            y_value = self.ys[0] + share * (self.ys[1] - self.ys[0])
            x, y = self.place(x_value, y_value)
            anchor = "end" if share == 1 else "middle"
            axes += [
                f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>',
                (
                    f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                    f"{y_value:.3g}</text>"
                ),
                (
                    f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">'
                    f"{x_value:.4g}</text>"
                ),
            ]
        axes += [
            (
                f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
                f"{self.x_words}</text>"
            ),
            (
                f'<text x="{-(_TOP + bottom) / 2}" y="12" text-anchor="middle" '
                f'transform="rotate(-90)">{self.y_words}</text>'
            ),
        ]
        return _svg(label, _WIDTH, _HEIGHT, [*axes, *parts])


def _svg(label: str, width: int, height: int, parts: Sequence[str], *, kind: str = "chart") -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}">\n' + "\n".join(parts) + "\n</svg>"
    )
