"""When two records agree: all is equal but the last digits of numbers that are computed.

A number is taken for computed if it has a decimal point or an exponent, or if it is a percentage, a
mean before or after ``±``, or so many of 100. Two of them agree if they differ by a hundredth, or
by one in the last digit that is shown. Everything else is text and must be the same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

#: How far computed numbers may differ, relative to the larger one.
TOLERANCE = 1e-2

#: Heights of bars in a line of text; each may differ by one.
BARS = "▁▂▃▄▅▆▇█"

_DECIMAL = r"(?<![\w.])[-+]?\d+(?:\.\d+(?:[eE][-+]?\d+)?|[eE][-+]?\d+)(?![\w.])"
_OF_HUNDRED = r"(?<![\w.])\d+(?= ?%| ±| of 100)|(?<=± )\d+(?![\w.])"
_COMPUTED = re.compile(rf" *(?:{_DECIMAL}|{_OF_HUNDRED}|[{BARS}]+)")


def _unit(number: str) -> float:
    """Return what one in the last digit of a number is worth."""
    digits, _, exponent = number.lower().partition("e")
    decimals = len(digits.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))


def _computed_agree(old: str, new: str) -> bool:
    """Tell whether two numbers, or rows of bars, agree; both with the spaces before them."""
    first, second = old.strip(), new.strip()
    if len(old) != len(new) and len(old) - len(first) != len(new) - len(second):
        return False
    if set(first + second) <= set(BARS):
        heights = [[BARS.index(bar) for bar in bars] for bars in (first, second)]
        pairs = zip(*heights, strict=False)
        return len(first) == len(second) and all(abs(a - b) <= 1 for a, b in pairs)
    if first[0] in BARS or second[0] in BARS:
        return False
    a, b = float(first), float(second)
    allowed = max(TOLERANCE * max(abs(a), abs(b)), 1.001 * max(_unit(first), _unit(second)))
    return abs(a - b) <= allowed


def lines_agree(old: str, new: str) -> bool:
    """Tell whether two lines are the same but for the last digits of computed numbers."""
    if old == new:
        return True
    if _COMPUTED.split(old) != _COMPUTED.split(new):
        return False
    pairs = zip(_COMPUTED.findall(old), _COMPUTED.findall(new), strict=True)
    return all(_computed_agree(first, second) for first, second in pairs)


def reconciled(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """Return new lines, with the old ones in place of those that agree with them.

    So a difference shows what has changed, not how another processor rounds.
    """
    before, after = ([_COMPUTED.sub("#", line) for line in lines] for lines in (old, new))
    result = list(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for at_old, at_new, count in matcher.get_matching_blocks():
        for k in range(count):
            if lines_agree(old[at_old + k], new[at_new + k]):
                result[at_new + k] = old[at_old + k]
    return tuple(result)


def difference(name: str, command: str, old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return a unified diff of two records of a command that differ."""
    lines = difflib.unified_diff(old, new, lineterm="", n=3)
    return [f"--- {name}: $ {command}", *list(lines)[2:]]
