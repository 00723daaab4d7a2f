"""What came of a rebuild, as text of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from hatch_mlbundle.printable import printable
from hatch_mlbundle.rebuilding.differences import Difference
from hatch_mlbundle.rebuilding.rebuild import Verdict
from hatch_mlbundle.units import format_size

_WIDTH = 80
_SHOWN = 10
_BEFORE = 24
"""Characters of a long line that are shown before those that differ."""


def rebuild_report(verdict: Verdict, against: Path | None) -> str:
    """Return what was built, what differed between the builds, and how the results differ."""
    lines = [
        f"{printable(each.name)}{_size(each.size)}{f', sha256 {each.sha256[:16]}' if each.sha256 else ''}" for each in verdict.artifacts
    ]
    if verdict.varied:
        lines += _filled(f"built twice, with another {_and(verdict.varied)}")
        lines += [line for name, reason in verdict.alike.items() for line in _filled(f"not varied: {name} ({reason})")]
    causing = _causing(verdict)
    for difference in causing[:_SHOWN]:
        lines += [*_filled(difference.line()), *_sides(difference)]
    lines += [f"... and {_counted(len(causing) - _SHOWN)}"] if len(causing) > _SHOWN else []
    if verdict.reproducible:
        same = [f"the same as {printable(against.name)}"] if against else []
        lines += [", ".join([*(["reproducible"] if verdict.varied else []), *same])]
    return "\n".join(lines) + "\n"


def rebuild_fault(verdict: Verdict) -> str:
    """Return the one line that says what is wrong with what was built again."""
    if verdict.fault:
        return f"{printable(verdict.project)}: is not built in other surroundings: {verdict.fault}"
    first, *more = _causing(verdict)
    others = f"; {_counted(len(more))}" if more else ""
    known = f"; it comes with {verdict.cause}" if verdict.cause else "" if first.cause else "; --why finds out why"
    return f"not reproducible: {first.line()}{known}{others}"


def _causing(verdict: Verdict) -> tuple[Difference, ...]:
    """Return the differences without those that follow from others, all of them where there are no others."""
    return tuple(each for each in verdict.differences if not each.follows) or verdict.differences


def _sides(difference: Difference) -> Iterator[str]:
    """Yield how it is in each, cut to the width of a line around what differs."""
    first, second = difference.first.rstrip("\r\n"), difference.second.rstrip("\r\n")
    if first == second:
        first, second = difference.first, difference.second
    if first == second:
        return
    same = next(
        (place for place, (here, there) in enumerate(zip(first, second, strict=False)) if here != there), min(len(first), len(second))
    )
    start = max(same - _BEFORE, 0) if max(len(first), len(second)) > _WIDTH - 4 else 0
    for sign, text in (("-", first), ("+", second)):
        shown = ("..." if start else "") + printable(text[start:])
        yield f"  {sign} {shown if len(shown) <= _WIDTH - 4 else f'{shown[: _WIDTH - 7]}...'}"


def _filled(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _size(size: int | None) -> str:
    return "" if size is None else f": {format_size(size)}"


def _and(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _counted(more: int) -> str:
    return f"{more:,} more difference{'s' if more > 1 else ''}"
