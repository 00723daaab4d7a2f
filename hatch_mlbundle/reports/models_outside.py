"""Models that lie outside applications, for a terminal: those in the store, and where those of an artifact are found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from hatch_mlbundle.model_store import StoredModel
from hatch_mlbundle.runtime.models.descriptor import Model
from hatch_mlbundle.units import format_size

from .tables import labelled, plain, unbroken

_DIGEST = 12
"""Digits of a digest that tell it from others."""


def line_report(line: str) -> RenderableType:
    """Return what was done with one model, on one line that can be copied."""
    return Group(unbroken(line, ""))


def stored_report(models: Sequence[StoredModel], taken: int) -> RenderableType:
    """Return the models of the stores, and the bytes that these take."""
    if not models:
        return Text("no models in the store")
    table = labelled(("size", "files", "digest"), "model")
    for model in models:
        table.add_row(format_size(model.size), f"{model.files:,}", model.digest[:_DIGEST], plain(model.name))
    roots = sorted({str(model.root) for model in models})
    return Group(table, *map(unbroken, roots), Text(f"{format_size(taken)} on the disk"))


def places_report(models: Sequence[tuple[Model, Path | None]]) -> RenderableType:
    """Return an artifact's models, each with where it is found."""
    parts: list[RenderableType] = []
    for model, place in models:
        told = f"{format_size(model.size)}, {len(model.files):,} files, {model.mode}, digest {model.digest[:_DIGEST]}"
        parts.append(Text.assemble(plain(model.name), f"  {told}"))
        parts.append(Text("  is not on this machine", style="yellow") if place is None else unbroken(f"  {place}"))
    return Group(*parts)
