"""The optimizers that there are and their options, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.reference import OptimizerEntry


def options_report(entries: Sequence[OptimizerEntry]) -> RenderableType:
    """Return each optimizer with the distribution it comes from and the options of its own."""
    parts: list[RenderableType] = []
    for entry in entries:
        lossless = "lossless" if entry.lossless else "lossy"
        parts.append(Text.assemble((entry.name, "bold"), f"  {lossless}, risk {entry.risk}, from {entry.distribution} {entry.version}"))
        parts.append(Text(f"  {entry.summary}"))
        table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for option in entry.options:
            table.add_row(option.name, f"{option.doc} ({option.type}; default {option.written_default})")
        parts += [table, Text()]
    return Group(*parts, Text("Each of them also takes enabled, include, exclude and timeout.", style="dim"))
