"""What steps did to models, as the page shows it: the trials of each search, and what became of each tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.accuracy import Model, models_of

from .columns import Table

_MOST_MODELS = 20
_MOST_TENSORS = 200
"""Tensors that are listed of a model, the largest; what is left is one row."""


def models(manifest: Manifest, table: Table) -> dict[str, Any]:
    """Return the models that the manifest's details tell of, the bound that their searches kept, and how many are left out."""
    known = [model for model in models_of(manifest) if model.size or model.search]
    return {
        "bound": _bound(manifest.configuration.get("accuracy")),
        "models": [_model(model, table) for model in known[:_MOST_MODELS]],
        "others": len(known[_MOST_MODELS:]),
    }


def _bound(settings: object) -> dict[str, Any] | None:
    """Return which bound the configuration sets, None where nothing was measured."""
    if not isinstance(settings, Mapping):
        return None
    key = next((key for key in ("at-least", "at-most") if key in settings), None)
    return {"key": key, "value": settings[key], "metric": settings.get("metric")} if key else None


def _model(model: Model, table: Table) -> dict[str, Any]:
    first = model.details[0].detail
    taken = next((row for row in model.search if row["keeps"]), None)
    return {
        "step": model.step,
        "files": [table.place(row.path) for row in model.details],
        "setting": first.get("setting") or first.get("dtype") or "",
        "size": model.size,
        "search": [{**row, "taken": row is taken} for row in model.search],
        **_tensors(sorted(_all_tensors(model), key=lambda row: -row["size"][0])),
    }


def _all_tensors(model: Model) -> Iterator[Mapping[str, Any]]:
    for row in model.details:
        yield from row.detail.get("tensors", ())


def _tensors(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    keys = ("name", "shape", "before", "after", "size", "sqnr")
    rest = [row["size"] for row in rows[_MOST_TENSORS:]]
    return {
        "tensors": [[row.get(key) for key in keys] for row in rows[:_MOST_TENSORS]],
        "otherTensors": {"count": len(rest), "size": [sum(each[side] for each in rest) for side in (0, 1)]},
    }
