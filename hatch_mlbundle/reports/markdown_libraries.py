"""GPU code by library and architecture, and what native libraries could lose, in Markdown."""

from __future__ import annotations

import re

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.units import format_size

from .library_rows import NOTE, Grid, added, gpu_grid, loss_grid, loss_title
from .markdown_parts import code, folded, joined, prose, table

_ROOM = 10
"""Columns of figures."""
_PLAIN = re.compile(r"[A-Za-z]*[ _]?[0-9.]*[a-z]*")
"""A head that is no markup, whatever stands around it."""


def libraries(manifest: Manifest, rows: int) -> list[str]:
    """Return a folded table of GPU code, and one of what could go, `rows` libraries each."""
    losses = _table(loss_grid(manifest, _ROOM), rows)
    return [
        folded("GPU code by library and architecture", _table(gpu_grid(manifest, _ROOM), rows)),
        folded("What libraries could lose", losses and f"What goes {loss_title(manifest, code)}:\n\n{losses}"),
    ]


def _table(grid: Grid | None, rows: int) -> str:
    if grid is None:
        return ""
    told, rest = grid.rows[:rows], grid.rows[rows:]
    lines = [[f"{code(path)} \\*" if path in grid.marked else code(path), *map(_cell, amounts)] for path, amounts in told]
    lines += [[f"[{len(rest):,} others]", *map(_cell, added(rest))]] if rest else []
    lines += [["**total**", *(f"**{cell}**" if cell else "" for cell in map(_cell, grid.sums))]]
    lines += [[prose(name), *map(_cell, amounts)] for name, amounts in grid.last]
    note = prose(f"* {NOTE}") if grid.marked else ""
    heads = (head if _PLAIN.fullmatch(head) else code(head) for head in grid.heads)
    return joined([table(["library", *heads], lines), note]).rstrip()


def _cell(amount: int) -> str:
    return format_size(amount) if amount else ""
