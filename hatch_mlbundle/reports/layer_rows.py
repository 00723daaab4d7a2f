"""The layers of a container image, the largest of them one by one, for tables of every form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hatch_mlbundle.manifest import LayerRow, Manifest

_SHELL = re.compile(r"^(?:RUN )?/bin/sh -c (?:#\(nop\) +)?")
"""What builders write before each instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSizes:
    """One layer by its number from 1, or `count` of them together (`number` None): bytes that are seen, hidden, and as stored."""

    number: int | None
    count: int
    installed: int
    hidden: int
    stored: int
    created_by: str


def layer_sizes(manifest: Manifest, top: int) -> list[LayerSizes]:
    """Return the `top` largest layers as stored, the lowest first, and in a last row all others; nothing where there are none."""
    rows = list(enumerate(manifest.layers, start=1))
    shown = dict(sorted(sorted(rows, key=lambda row: -row[1].size)[:top]))
    rest = [layer for number, layer in rows if number not in shown]
    return [*(_sizes([layer], number) for number, layer in shown.items()), *([_sizes(rest, None)] if rest else [])]


def instruction(created_by: str, longest: int) -> str:
    """Return the beginning of what made a layer, on one line of at most so many characters."""
    text = " ".join(_SHELL.sub("", created_by[: 1000 + longest]).split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _sizes(layers: Sequence[LayerRow], number: int | None) -> LayerSizes:
    return LayerSizes(
        number=number,
        count=len(layers),
        installed=sum(layer.installed for layer in layers),
        hidden=sum(layer.hidden_installed for layer in layers),
        stored=sum(layer.size for layer in layers),
        created_by=layers[0].created_by if number else "",
    )
