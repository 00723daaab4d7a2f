"""Whether an artifact is the one that its manifest describes, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from hatch_mlbundle.matching import Difference, Match
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_size

from .tables import others, plain, unbroken

_STYLES = {"missing": "red", "extra": "yellow", "changed": "red", "unreadable": "red"}


def match_report(match: Match, *, top: int) -> RenderableType:
    """Return what was compared, the `top` first differences, and what could not be compared."""
    parts: list[RenderableType] = [unbroken(match.artifact)]
    parts.append(Text(f"{match.kind}, {format_size(match.size)}, {match.files:,} files, {format_size(match.installed)} installed"))
    parts.append(Text(f"sha256 {printable(match.sha256)}", style="dim"))
    if match.beside:
        parts.append(Text(f"beside it: {match.beside:,} files"))
    parts += [plain(f"not checked, as it is not here: {name}") for name in match.unchecked]
    if match.same:
        return Group(*parts, Text("It is what the manifest describes.", style="green"))
    parts += [Text(), Text(_counts(match), style="bold")]
    for difference in match.differences[:top]:
        parts += _difference(difference)
    parts += [others(len(match.differences) - top)] if len(match.differences) > top else []
    return Group(*parts)


def _counts(match: Match) -> str:
    statuses = [each.status for each in match.differences]
    return "It differs: " + ", ".join(f"{statuses.count(status):,} {status}" for status in _STYLES if status in statuses)


def _difference(difference: Difference) -> Iterator[RenderableType]:
    title = Text(f"{difference.status:<11}", style=_STYLES[difference.status])
    title.append(printable(difference.path), style="cyan")
    title.append("" if difference.part == "file" else f" ({difference.part})", style="dim")
    title.overflow = "fold"
    yield title
    if difference.problem:
        yield Text(f"  {printable(difference.problem)}", overflow="fold")
    if difference.status != "changed":
        return
    for key, expected in difference.expected.items():
        found = difference.found.get(key)
        if key in ("sha256", "digest"):
            yield Text(f"  {key} {printable(str(expected))}\n  {'found':<{len(key)}} {printable(str(found))}", overflow="fold")
        else:
            yield Text(f"  {key} {_number(expected)}, found {_number(found)}", overflow="fold")


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else printable(str(value))
