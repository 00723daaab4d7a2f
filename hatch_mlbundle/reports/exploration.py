"""The choices for an artifact as a table, 80 columns wide, with a line for each that went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.units import format_size
from hatch_mlbundle.verification.choices import Choice, Exploration

from .terminal import WIDTH

_GAP = 2
_SHOWN = 5
"""Findings of one step that are told."""
_NONE = "-"
_Figure: TypeAlias = Callable[[Choice], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    title: str
    figure: _Figure
    text: Callable[[float], str]


def exploration_report(exploration: Exploration) -> RenderableType:
    """Return the table, what went wrong, and one line on what was run."""
    parts: list[RenderableType] = [Text(exploration.artifact, no_wrap=True, overflow="ignore", style="cyan"), _table(exploration)]
    parts += [Text(line, style="red", overflow="fold") for line in _problems(exploration.choices)]
    parts += [Text(line, style="yellow", overflow="fold") for line in _findings(exploration)]
    return Group(*parts, Text(_how(exploration), style="dim", overflow="fold"))


def _table(exploration: Exploration) -> Table:
    """Draw as many columns with percents as fit, those of sizes first."""
    columns = _columns(exploration)
    cells: list[list[str]] = []
    for compared in range(len(columns), -1, -1):
        cells = [_cells(column, exploration.choices, with_percent=number < compared) for number, column in enumerate(columns)]
        if _width(exploration, columns, cells) <= WIDTH:
            break
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("choice", overflow="fold")
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    if exploration.commands:
        table.add_column("verified", no_wrap=True)
    for choice, row in zip(exploration.choices, zip(*cells, strict=True), strict=True):
        table.add_row(choice.name, *row, *([_verdict(choice)] if exploration.commands else []))
    return table


def _columns(exploration: Exploration) -> list[_Column]:
    packed = "compressed" if exploration.kind == "wheel" else "zipped"
    columns = [
        _Column(title="installed", figure=lambda choice: choice.installed, text=_size),
        _Column(title=packed, figure=lambda choice: choice.compressed, text=_size),
    ]
    if exploration.commands:
        columns += [_Column(title="start", figure=_seconds, text=_time), _Column(title="memory", figure=_memory, text=_size)]
    return columns


def _seconds(choice: Choice) -> float | None:
    """Return how long the slowest command takes."""
    return max((each.seconds for each in choice.measured), default=None)


def _memory(choice: Choice) -> float | None:
    """Return what the command takes that takes the most."""
    return max((each.peak_memory for each in choice.measured), default=None)


def _cells(column: _Column, choices: Sequence[Choice], *, with_percent: bool) -> list[str]:
    whole = column.figure(choices[0])
    return [_cell(column, column.figure(choice), whole if with_percent and choice is not choices[0] else None) for choice in choices]


def _cell(column: _Column, figure: float | None, whole: float | None) -> str:
    if figure is None:
        return _NONE
    change = round(100 * (figure - whole) / whole) if whole else 0
    return f"{column.text(figure)} {change:+d}%" if change else column.text(figure)


def _width(exploration: Exploration, columns: Sequence[_Column], cells: Sequence[Sequence[str]]) -> int:
    names = max(len(choice.name) for choice in exploration.choices)
    figures = sum(_GAP + max(map(len, (column.title, *each))) for column, each in zip(columns, cells, strict=True))
    return names + figures + (_GAP + max(map(len, ("verified", *map(_verdict, exploration.choices)))) if exploration.commands else 0)


def _verdict(choice: Choice) -> str:
    return choice.verdict or _NONE


def _size(figure: float) -> str:
    return format_size(int(figure))


def _time(figure: float) -> str:
    return f"{figure:.2f} s"


def _problems(choices: Sequence[Choice]) -> Iterator[str]:
    """Yield a line for each problem, with all choices that have it."""
    named: dict[str, list[str]] = {}
    for choice in choices:
        if choice.problem:
            named.setdefault(f"{choice.verdict}: {choice.problem}", []).append(choice.name)
    for problem, names in named.items():
        yield f"{'; '.join(names)}: {problem}"


def _findings(exploration: Exploration) -> Iterator[str]:
    """Yield each finding once, of each step the first few."""
    told: dict[str, list[str]] = {}
    for choice in exploration.choices:
        for finding in choice.findings:
            lines = told.setdefault(finding.optimizer or "", [])
            lines += [finding.line()] if finding.line() not in lines else []
    for optimizer, lines in told.items():
        yield from lines[:_SHOWN]
        if len(lines) > _SHOWN:
            yield f"{optimizer}: {len(lines) - _SHOWN:,} more findings, with --json"
    yield from (finding.line() for finding in exploration.findings)


def _how(exploration: Exploration) -> str:
    if not exploration.commands:
        return "nothing was run: there are no commands in [tool.mlbundle.verify], nor one behind `--`"
    place = " in a clean root" if exploration.jail else ""
    figures = "start of the slowest command, memory of the largest; " if len(exploration.commands) > 1 else ""
    times = "once" if exploration.repeat == 1 else f"{exploration.repeat} times"
    return f"{figures}each run {times}{place}: {exploration.runs:,} runs of {exploration.results:,} different results"
