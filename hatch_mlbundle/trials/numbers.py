"""Compare texts number by number, within tolerances: what lies between the numbers must be equal but for white space."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|(?:nan|inf|infinity)\b)", re.IGNORECASE)
"""As Python, numpy and C print them. Digits within a name, such as `layer1`, or a version's third part are none."""

Token: TypeAlias = tuple[int, str, float | None]
"""The number of its line, the text, and its value where it is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """By how much two numbers may differ: `relative`, as a share of the larger one, or `absolute` (math.isclose)."""

    relative: float
    absolute: float

    def allows(self, before: float, after: float) -> bool:
        """Say whether two numbers count as the same; NaN is the same as NaN."""
        both_nan = math.isnan(before) and math.isnan(after)
        return both_nan or math.isclose(before, after, rel_tol=self.relative, abs_tol=self.absolute)


def numeric_difference(before: Iterable[str], after: Iterable[str], tolerance: Tolerance, what: str) -> str | None:
    """Return what differs between two texts, given line by line, in words: other text, or the number that is furthest off; None where
    nothing does. `what` is what the texts are called.
    """
    worst: tuple[float, str] | None = None
    count = 0
    for old, new in zip_longest(_tokens(before), _tokens(after)):
        if old is None or new is None or (old[2] is None) != (new[2] is None) or (old[2] is None and old[1] != new[1]):
            return _text_differs(old, new, what)
        if old[1] == new[1] or _same(old, new, tolerance):
            continue
        count += 1
        deviation = _deviation(old[2], new[2])
        if worst is None or deviation > worst[0]:
            worst = deviation, f"line {new[0]} of {what} is {_cut(new[1])} instead of {_cut(old[1])}"
    if worst is None:
        return None
    told = [f"off by {worst[0]:.3g}"] if math.isfinite(worst[0]) else []
    told += [f"the most of {count:,}"] if count > 1 else []
    return f"{worst[1]} ({', '.join(told)})" if told else worst[1]


def _tokens(lines: Iterable[str]) -> Iterator[Token]:
    """Yield numbers and the words between them."""
    for number, line in enumerate(lines, 1):
        at = 0
        for match in _NUMBER.finditer(line):
            yield from ((number, word, None) for word in line[at : match.start()].split())
            yield number, match[0], _value(match[0])
            at = match.end()
        yield from ((number, word, None) for word in line[at:].split())


def _value(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) or not any(map(str.isdigit, text)) else math.nan  # too large for a float


def _same(old: Token, new: Token, tolerance: Tolerance) -> bool:
    if old[2] is None or new[2] is None:
        return False
    spelled = [text[1].lower().lstrip("+-") for text in (old, new)]
    overflows = any(math.isnan(value) and text != "nan" for value, text in zip((old[2], new[2]), spelled, strict=True))
    return not overflows and tolerance.allows(old[2], new[2])


def _deviation(old: float | None, new: float | None) -> float:
    deviation = abs((old or 0.0) - (new or 0.0))
    return math.inf if math.isnan(deviation) else deviation


def _text_differs(old: Token | None, new: Token | None, what: str) -> str:
    if old is None and new is not None:
        return f"line {new[0]} of {what} goes on with {shown(new[1])}"
    if new is None and old is not None:
        return f"{what} ends before {shown(old[1])} of line {old[0]}"
    return f"line {new[0] if new else 0} of {what} says {shown(new[1] if new else '')} instead of {shown(old[1] if old else '')}"


def shown(text: str, longest: int = 60) -> str:
    """Return a text in quotes, cut where it is long, with escapes for what cannot be printed."""
    return repr(_cut(text, longest))


def _cut(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def deviation(before: Iterable[str], after: Iterable[str]) -> float:
    """Return the largest difference of two numbers at the same place of two texts, as a share of the larger one."""
    pairs = ((old[2], new[2]) for old, new in zip(_tokens(before), _tokens(after), strict=False))
    return max((_share(old, new) for old, new in pairs if old is not None and new is not None), default=0.0)


def _share(old: float, new: float) -> float:
    largest = max(abs(old), abs(new))
    return abs(old - new) / largest if largest and math.isfinite(largest) else 0.0
