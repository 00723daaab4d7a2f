"""Times and memory of commands, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.trials.measure import Measurement
from hatch_mlbundle.units import format_size


def measurements_report(measured: Sequence[tuple[str, Measurement]]) -> RenderableType:
    """Return a row for each program, and where there are two how the second compares to the first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("median", "fastest", "slowest", "peak memory"):
        table.add_column(title, justify="right", no_wrap=True)
    runs = measured[0][1].runs
    table.add_column(f"start to exit, {runs:,} {'runs' if runs > 1 else 'run'}", overflow="fold")
    for name, each in measured:
        seconds = (each.seconds_median, each.seconds_min, each.seconds_max)
        table.add_row(*map(format_seconds, seconds), format_size(each.peak_memory_median), Text(name))
    if len(measured) == 2:
        (_, first), (_, second) = measured
        pairs = (
            (second.seconds_median, first.seconds_median),
            (second.seconds_min, first.seconds_min),
            (second.seconds_max, first.seconds_max),
            (second.peak_memory_median, first.peak_memory_median),
        )
        table.add_section()
        table.add_row(*(_ratio(*pair) for pair in pairs), "the second to the first")
    return table


def format_seconds(seconds: float) -> str:
    """Return a time as a person reads it: `'0.302 s'`, `'12.5 s'`, `'250 s'`."""
    return f"{seconds:.{3 if seconds < 10 else 1 if seconds < 100 else 0}f} s"


def _ratio(second: float, first: float) -> str:
    return f"x {second / first:.2f}" if first else ""
