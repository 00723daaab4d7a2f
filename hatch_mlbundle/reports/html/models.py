"""What steps did to models, as the page shows it: the trials of each search, and what became of each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.models import Model, Tensor, finite, models_of

from .columns import Table

_MOST_MODELS = 20
_MOST_TENSORS = 200
"""Tensors that are listed of a model, the largest; what is left is one row."""


def models(manifest: Manifest, table: Table) -> dict[str, Any]:
    """Return the models that the manifest's details tell of, the bound that their searches kept, and how many are left out."""
    known = list(models_of(manifest))
    return {
        "bound": _bound(manifest.configuration.get("accuracy")),
        "models": [_model(model, table) for model in known[:_MOST_MODELS]],
        "others": len(known[_MOST_MODELS:]),
    }


def _bound(settings: object) -> dict[str, Any] | None:
    """Return which bound the configuration sets, None where nothing was measured."""
    if not isinstance(settings, Mapping):
        return None
    metric = settings.get("metric")
    bounds = {key: value for key in ("at-least", "at-most") if (value := finite(settings.get(key))) is not None}
    return next(({"key": key, "value": bounds[key], "metric": metric if isinstance(metric, str) else None} for key in bounds), None)


def _model(model: Model, table: Table) -> dict[str, Any]:
    taken = next((trial for trial in model.search if trial.keeps), None)
    return {
        "step": model.step,
        "files": [table.place(row.path) for row in model.details],
        "setting": model.setting,
        "size": model.size,
        "search": [{**asdict(trial), "taken": trial == taken} for trial in model.search],
        **_tensors(model.tensors),
    }


def _tensors(tensors: Sequence[Tensor]) -> dict[str, Any]:
    rest = [tensor.size for tensor in tensors[_MOST_TENSORS:]]
    return {
        "tensors": [[each.name, each.shape, each.before, each.after, each.size, each.sqnr] for each in tensors[:_MOST_TENSORS]],
        "otherTensors": {"count": len(rest), "size": [sum(each[side] for each in rest) for side in (0, 1)]},
    }
