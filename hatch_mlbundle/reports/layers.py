"""The layers of a container image as a table: what each brings, and what later ones hide of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from hatch_mlbundle.manifest import LayerRow, Manifest
from hatch_mlbundle.units import format_size

from .tables import labelled, others, plain

_SHELL = re.compile(r"^(?:RUN )?/bin/sh -c (?:#\(nop\) +)?")
"""What builders write before each instruction."""
_LONGEST = 60


def layers_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table with a row for each layer, the lowest first, but only for the `top` largest; nothing where there are none."""
    rows = list(enumerate(manifest.layers, start=1))
    if not rows:
        return []
    table = labelled(["layer", "installed", "hidden", "stored"], "made by")
    shown = dict(sorted(sorted(rows, key=lambda row: -row[1].size)[:top]))
    for number, layer in shown.items():
        table.add_row(str(number), *_sizes([layer]), plain(_instruction(layer.created_by)))
    rest = [layer for number, layer in rows if number not in shown]
    if rest:
        table.add_row("", *_sizes(rest), others(len(rest)))
    return [table, Text()]


def _sizes(layers: Sequence[LayerRow]) -> list[str]:
    hidden = sum(layer.hidden_installed for layer in layers)
    installed, stored = sum(layer.installed for layer in layers), sum(layer.size for layer in layers)
    return [format_size(installed), format_size(hidden) if hidden else "", format_size(stored)]


def _instruction(created_by: str) -> str:
    """Return the beginning of an instruction, on one line."""
    text = " ".join(_SHELL.sub("", created_by[:1000]).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
