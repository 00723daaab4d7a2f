"""What steps did to models, for a terminal: a line for each, and, where a bound of accuracy was searched for, size against error."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_percent, format_size

from .models import Model, Trial, finite, models_of

_MOST = 10
"""Models that are told one by one; of the shards of a large one there may be hundreds."""


def models_report(manifest: Manifest) -> RenderableType | None:
    """Return what the manifest's details say of models, None where they say nothing."""
    models = list(models_of(manifest))
    if not models:
        return None
    parts: list[RenderableType] = []
    for model in models[:_MOST]:
        parts.append(_line(model))
        parts += [_table(model)] if model.search else []
    if len(models) > _MOST:
        parts.append(Text(f"[{len(models) - _MOST:,} other models]", style="dim"))
    return Group(*parts)


def _line(model: Model) -> Text:
    others = f" and {len(model.details) - 1:,} more" if len(model.details) > 1 else ""
    told = [printable(f"{model.details[0].path}{others} {model.setting}".rstrip())]
    if model.size:
        told.append(f"{format_size(model.size[0])} -> {format_size(model.size[1])}")
    sqnr = [each for row in model.details if (each := finite(row.detail.get("sqnr"))) is not None]
    if len(sqnr) == len(model.details):
        told.append(f"SQNR {min(sqnr):.1f} dB")
    return Text(f"{model.step}: {', '.join(told)}", overflow="fold")


def _table(model: Model) -> Table:
    trials = model.search
    metric = next((trial.metric for trial in trials if trial.metric), "accuracy")
    worst = any(trial.worst is not None for trial in trials)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", overflow="fold")
    for header in ("size", "saved", metric, *(["worst"] if worst else []), ""):
        table.add_column(header, justify="left" if not header else "right", no_wrap=True)
    chosen = next((trial for trial in trials if trial.keeps), None)
    for trial in trials:
        saved = format_percent(model.size[0] - trial.size, model.size[0]) if model.size and model.size[0] else ""
        values = [_value(trial), *(["-" if trial.worst is None else f"{trial.worst:#.6g}"] if worst else [])]
        verdict = "taken" if trial is chosen else "within" if trial.keeps else ""
        table.add_row(trial.setting, format_size(trial.size), saved, *values, verdict, style="bold" if trial is chosen else "")
    return table


def _value(trial: Trial) -> str:
    if trial.value is None:
        return "not finite" if trial.metric else "-"
    return f"{trial.value:#.6g}"
