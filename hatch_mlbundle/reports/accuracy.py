"""What steps did to models, for a terminal: a line for each, and, where a bound of accuracy was searched for, size against error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import DetailRow, Manifest
from hatch_mlbundle.units import format_percent, format_size

_MOST = 10
"""Models that are told one by one; of the shards of a large one there may be hundreds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a step says of files that it made together: the bytes of their weights before and after, None where it does not say."""

    step: str
    details: Sequence[DetailRow]
    size: tuple[int, int] | None

    @property
    def search(self) -> list[Mapping[str, Any]]:
        """The trials of its search, those that take the least first; the first that keeps the bound was taken."""
        return sorted(self.details[0].detail.get("search", ()), key=lambda row: (row["size"], not row["keeps"]))


def models_report(manifest: Manifest) -> RenderableType | None:
    """Return what the manifest's details say of models, None where they say nothing."""
    models = [model for model in models_of(manifest) if model.size or model.search]
    if not models:
        return None
    parts: list[RenderableType] = []
    for model in models[:_MOST]:
        parts.append(_line(model))
        parts += [_table(model)] if model.search else []
    if len(models) > _MOST:
        parts.append(Text(f"[{len(models) - _MOST:,} other models]", style="dim"))
    return Group(*parts)


def models_of(manifest: Manifest) -> Iterator[Model]:
    """Yield the details by what was searched for together: the files of one model have the same trials."""
    groups: list[list[DetailRow]] = []
    for row in manifest.details:
        search = row.detail.get("search")
        same = next((group for group in groups if search and (group[0].step, group[0].detail.get("search")) == (row.step, search)), None)
        if same:
            same.append(row)
        else:
            groups.append([row])
    for group in groups:
        sizes = [_size(row, manifest) for row in group]
        known = [size for size in sizes if size]
        size = (sum(before for before, _ in known), sum(after for _, after in known)) if len(known) == len(sizes) else None
        yield Model(step=manifest.steps[group[0].step].optimizer, details=group, size=size)


def _size(row: DetailRow, manifest: Manifest) -> tuple[int, int] | None:
    """Return the bytes before and after, as the detail says of the whole or of its tensors, else those of the file."""
    whole = row.detail.get("size")
    if isinstance(whole, list | tuple) and len(whole) == 2:
        return whole[0], whole[1]
    tensors = row.detail.get("tensors")
    if tensors:
        return sum(each["size"][0] for each in tensors), sum(each["size"][1] for each in tensors)
    file = next((file for file in manifest.files if file.path == row.path), None)
    return (file.before.size, file.after.size) if file and file.before and file.after else None


def _line(model: Model) -> Text:
    first = model.details[0]
    others = f" and {len(model.details) - 1:,} more" if len(model.details) > 1 else ""
    setting = first.detail.get("setting") or first.detail.get("dtype") or ""
    told = [f"{first.path}{others} {setting}".rstrip()]
    if model.size:
        told.append(f"{format_size(model.size[0])} -> {format_size(model.size[1])}")
    sqnr = [each for row in model.details if isinstance(each := row.detail.get("sqnr"), int | float)]
    if len(sqnr) == len(model.details):
        told.append(f"SQNR {min(sqnr):.1f} dB")
    return Text(f"{model.step}: {', '.join(told)}", overflow="fold")


def _table(model: Model) -> Table:
    rows = model.search
    metric = next((row["metric"] for row in rows if row["metric"]), "accuracy")
    worst = any(row.get("worst") is not None for row in rows)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", overflow="fold")
    for header in ("size", "saved", metric, *(["worst"] if worst else []), ""):
        table.add_column(header, justify="left" if not header else "right", no_wrap=True)
    chosen = next((row for row in rows if row["keeps"]), None)
    for row in rows:
        saved = format_percent(model.size[0] - row["size"], model.size[0]) if model.size and model.size[0] else ""
        values = [_value(row, "value"), *([_value(row, "worst")] if worst else [])]
        verdict = "taken" if row is chosen else "within" if row["keeps"] else ""
        table.add_row(row["setting"], format_size(row["size"]), saved, *values, verdict, style="bold" if row is chosen else "")
    return table


def _value(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return "not finite" if row["metric"] and key == "value" else "-"
    return f"{value:#.6g}"
