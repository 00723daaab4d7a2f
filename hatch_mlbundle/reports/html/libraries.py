"""GPU code by library and architecture, and what native libraries could lose, as the page gets them."""

from __future__ import annotations

from typing import Any

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.removable import RemovableRow
from hatch_mlbundle.reports.library_rows import Targets, by_loss, choices, gpu_grid, kept_for, label, most_code

from .columns import Table

_ROOM = 16
"""Columns of architectures, and of all of them."""


def libraries(manifest: Manifest, table: Table) -> dict[str, Any]:
    """Return GPU code in columns by architecture, and what each library could lose with each choice of what is kept."""
    grid, every = gpu_grid(manifest, _ROOM), choices(manifest)
    rows = [] if grid is None else [[table.place(path), *amounts] for path, amounts in grid.rows]
    return {
        "gpuCode": {"heads": grid.heads if grid else (), "rows": rows},
        "choices": [label(each) for each in every],
        "mostCode": every.index(most_code(manifest, every)[0]) if every else 0,
        "removable": [_row(row, every, table) for row in by_loss(manifest)],
    }


def _row(row: RemovableRow, every: list[Targets], table: Table) -> dict[str, Any]:
    """Return a library: bytes by strip, and for each choice bytes of GPU code, what they save, and what that saves with a strip."""
    strip, gpu = row.strip, row.gpu
    kept = [kept_for(row, targets) for targets in every] if gpu else []
    return {
        "file": table.place(row.path),
        "strip": [strip.symbols, strip.debug, strip.remarks, strip.saves] if strip else None,
        "keeping": [[each.drops, each.saves, each.with_strip] if each else None for each in kept],
        "licence": gpu.licence if gpu else "",
        "refusals": [refusal for refusal in (strip.refusal if strip else "", gpu.refusal if gpu else "") if refusal],
    }
