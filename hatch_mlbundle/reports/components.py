"""The components of a container image as a table."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from hatch_mlbundle.manifest import ComponentRow, Manifest
from hatch_mlbundle.printable import printable, shortened
from hatch_mlbundle.units import format_percent, format_size

from .component_rows import Amount, KindRows, component_kinds, title
from .tables import labelled, others, plain, structure

_WIDTH = 37
"""Columns that are left for names."""
_SHORTEST = 8
"""Columns in which there is something to say."""


def components_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table of the `top` largest components by kind, the rest of each in one row; nothing where there are none."""
    groups = component_kinds(manifest, top)
    if not groups:
        return []
    totals = manifest.artifact.after
    table = labelled(["installed", "", "compressed", ""], "component")

    def add(size: Amount | ComponentRow, label: Text, style: str = "") -> None:
        cells = [format_size(size.installed), format_percent(size.installed, totals.installed)]
        table.add_row(*cells, format_size(size.compressed), format_percent(size.compressed, totals.size), label, style=style)

    for group in filter(_has_bytes, groups):
        add(group.whole, Text(_counted(group)), "bold")
        for row in group.shown:
            add(row, _named(row, is_told=bool(group.detail)))
        if group.shown and group.others:
            add(group.rest, Text("  ").append_text(others(group.others)))
    if totals.structure:
        table.add_row(
            "", "", format_size(totals.structure), format_percent(totals.structure, totals.size), structure(manifest.artifact.kind)
        )
    whole = Amount(installed=totals.installed, compressed=totals.size, files=totals.files)
    add(whole, Text("total"), "bold")
    return [table, Text()]


def _has_bytes(group: KindRows) -> bool:
    return bool(group.whole.installed or group.whole.compressed)


def _counted(group: KindRows) -> str:
    counted = f"{group.label} ({group.count:,})" if group.count > 1 else group.label
    return f"{counted}, {shortened(group.detail, _WIDTH - len(counted) - 2)}" if group.detail else counted


def _named(row: ComponentRow, *, is_told: bool) -> Text:
    """Return a component's name, and what else there is to say as far as the line has room, unless its kind `is_told` to have that."""
    text = Text("  ", overflow="fold").append_text(plain(title(row)))
    room = _WIDTH - len(text) - 2
    if not row.detail or is_told or room < _SHORTEST:
        return text
    detail = printable(row.detail)
    return text.append(f"  {detail if len(detail) <= room else f'{detail[: room - 3]}...'}", style="dim")
