"""The layers of a container image as a table: what each brings, and what later ones hide of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import LayerRow, Manifest
from hatch_mlbundle.units import format_size

_SHELL = re.compile(r"^(?:/bin/sh -c (?:#\(nop\) +)?|RUN /bin/sh -c )")
"""What builders write before each instruction."""
_LONGEST = 60


def layers_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table with a row for each layer, the lowest first, but only for the `top` largest; nothing without layers."""
    rows = list(enumerate(manifest.layers, start=1))
    if not rows:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number in ("layer", "installed", "hidden", "stored"):
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("made by", overflow="fold")
    shown = sorted(sorted(rows, key=lambda row: -row[1].size)[:top])
    for number, layer in shown:
        table.add_row(str(number), *_sizes([layer]), Text(_instruction(layer.created_by)))
    rest = [layer for number, layer in rows if (number, layer) not in shown]
    if rest:
        table.add_row("", *_sizes(rest), Text(f"[{len(rest):,} others]", style="dim"))
    return [table, Text("")]


def _sizes(layers: Sequence[LayerRow]) -> list[str]:
    hidden = sum(layer.hidden_installed for layer in layers)
    installed, stored = sum(layer.installed for layer in layers), sum(layer.size for layer in layers)
    return [format_size(installed), format_size(hidden) if hidden else "", format_size(stored)]


def _instruction(created_by: str) -> str:
    """Return the beginning of an instruction on one line."""
    words = "".join(each if each.isprintable() else " " for each in _SHELL.sub("", created_by[:1000])).split()
    text = " ".join(words)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
