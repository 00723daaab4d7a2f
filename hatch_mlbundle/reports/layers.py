"""The layers of a container image as a table: what each brings, and what later ones hide of it."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.units import format_size

from .layer_rows import instruction, layer_sizes
from .tables import labelled, others, plain

_LONGEST = 60


def layers_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table with a row for each layer, the lowest first, but only for the `top` largest; nothing where there are none."""
    rows = layer_sizes(manifest, top)
    if not rows:
        return []
    table = labelled(["layer", "installed", "hidden", "stored"], "made by")
    for row in rows:
        label = plain(instruction(row.created_by, _LONGEST)) if row.number else others(row.count)
        hidden = format_size(row.hidden) if row.hidden else ""
        table.add_row(str(row.number or ""), format_size(row.installed), hidden, format_size(row.stored), label)
    return [table, Text()]
