"""What an artifact's binaries and models are made of, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table

from hatch_mlbundle.contents.totals import totals
from hatch_mlbundle.manifest import Manifest, View
from hatch_mlbundle.units import format_percent, format_size

from .tables import labelled, others, plain

_TITLES: Mapping[View, str] = {
    "sections": "sections of binaries",
    "gpu": "GPU code by architecture",
    "tensors": "tensors by dtype",
}


def contents_report(manifest: Manifest, *, top: int) -> RenderableType | None:
    """Return the sizes of the `top` largest sections, GPU architectures and dtypes of all files, None where none was inspected."""
    sums = totals(manifest)
    tables = [_table(title, sums[view], top) for view, title in _TITLES.items() if view in sums]
    return Group(*tables) if tables else None


def _table(title: str, parts: Mapping[str, int], top: int) -> Table:
    whole = sum(parts.values())
    table = labelled(["installed", ""], f"{title}, {format_size(whole)}")
    told = list(parts.items())[:top]
    for name, size in told:
        table.add_row(format_size(size), format_percent(size, whole), plain(name))
    if len(parts) > len(told):
        rest = whole - sum(size for _, size in told)
        table.add_row(format_size(rest), format_percent(rest, whole), others(len(parts) - len(told)))
    table.add_row()
    return table
