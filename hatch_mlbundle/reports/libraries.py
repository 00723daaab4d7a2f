"""GPU code by library and architecture, and what native libraries could lose, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_size

from .library_rows import NOTE, Grid, added, gpu_grid, loss_grid, loss_title, names
from .tables import labelled, others, plain

_FREE = 80 - 26
"""Columns of the terminal for figures: what is left beside most names of libraries."""
_FIGURE = 9
"""Columns of one figure."""


def libraries_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table of GPU code, and one of what could go, of the `top` largest libraries each; nothing where there is none."""
    room = _FREE // _FIGURE
    return [
        *_part("GPU code by library and architecture", gpu_grid(manifest, room), top),
        *_part(f"what libraries could lose: {loss_title(manifest, printable)}", loss_grid(manifest, room), top),
    ]


def _part(title: str, grid: Grid | None, top: int) -> Iterator[RenderableType]:
    if grid is None:
        return
    yield Text(title, style="dim", overflow="fold")
    yield _table(grid, top)
    if grid.marked:
        yield Text(f"* {NOTE}", style="dim")
    yield Text()


def _table(grid: Grid, top: int) -> Table:
    table = labelled([plain(head) for head in grid.heads], "library")
    told, rest = grid.rows[:top], grid.rows[top:]
    for name, (path, amounts) in zip(names([path for path, _ in told]), told, strict=True):
        table.add_row(*_cells(amounts), plain(name).append(" *" if path in grid.marked else ""))
    if rest:
        table.add_row(*_cells(added(rest)), others(len(rest)))
    if len(grid.rows) > 1:
        table.add_row(*_cells(grid.sums), "total", style="bold")
    for name, amounts in grid.last:
        table.add_row(*_cells(amounts), name, style="bold")
    return table


def _cells(amounts: Iterable[int]) -> Iterator[str]:
    return (format_size(amount) if amount else "" for amount in amounts)
