"""What a manifest's details say of models: the trials of a search, and what became of each tensor.

Details are a step's own words. What docs/manifest.md describes is told; what a step writes otherwise is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from hatch_mlbundle.manifest import DetailRow, Manifest
from hatch_mlbundle.model import Kind

_NATIVE = frozenset((Kind.ELF.value, Kind.PE.value, Kind.MACHO.value))
LIMIT = 2**63
"""No number of bytes is as large; what is, may be too large for a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was tried: bytes, the metric (None where nothing was measured), its values (None where they are no finite number)."""

    setting: str
    size: int
    metric: str | None
    value: float | None
    worst: float | None
    keeps: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor: how its numbers were stored before and after, its bytes, and the noise in dB (None where every number is the same)."""

    name: str
    shape: Sequence[int]
    before: str
    after: str
    size: tuple[int, int]
    sqnr: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a step says of files that it made together: the bytes of their weights before and after, None where it does not say."""

    step: str
    details: Sequence[DetailRow]
    size: tuple[int, int] | None

    @property
    def search(self) -> list[Trial]:
        """The trials of its search, those that take the least first; the first that keeps the bound was taken."""
        return sorted(_trials(self.details[0]), key=lambda trial: (trial.size, not trial.keeps))

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of all its files, the largest first."""
        return sorted((tensor for row in self.details for tensor in _tensors(row)), key=lambda tensor: -tensor.size[0])

    @property
    def setting(self) -> str:
        """How it was made, as a search or the configuration chose it; empty where it does not say."""
        first = self.details[0].detail
        return _text(first.get("setting")) or _text(first.get("dtype"))


def models_of(manifest: Manifest) -> Iterator[Model]:
    """Yield the details that tell of bytes or trials, by what was searched for together: the files of one model have the same trials."""
    for group in _groups(manifest.details):
        sizes = [_size(row, manifest) for row in group]
        known = [size for size in sizes if size]
        size = (sum(before for before, _ in known), sum(after for _, after in known)) if len(known) == len(sizes) else None
        model = Model(step=_step(group[0], manifest), details=group, size=size)
        if model.size or model.search:
            yield model


def _groups(rows: Sequence[DetailRow]) -> list[list[DetailRow]]:
    groups: list[list[DetailRow]] = []
    for row in rows:
        search = row.detail.get("search")
        same = next((group for group in groups if search and (group[0].step, group[0].detail.get("search")) == (row.step, search)), None)
        if same:
            same.append(row)
        else:
            groups.append([row])
    return groups


def _step(row: DetailRow, manifest: Manifest) -> str:
    return manifest.steps[row.step].optimizer if 0 <= row.step < len(manifest.steps) else ""


def _size(row: DetailRow, manifest: Manifest) -> tuple[int, int] | None:
    """Return the bytes before and after, as the detail says of the whole or of its tensors, else those of the file, if it is no library."""
    if _is_pair(whole := row.detail.get("size")):
        return whole[0], whole[1]
    if tensors := list(_tensors(row)):
        return sum(each.size[0] for each in tensors), sum(each.size[1] for each in tensors)
    file = next((file for file in manifest.files if file.path == row.path), None)
    if file is None or file.kind in _NATIVE or not (file.before and file.after):
        return None
    return file.before.size, file.after.size


def _trials(row: DetailRow) -> Iterator[Trial]:
    for each in _objects(row.detail.get("search")):
        if isinstance(each.get("setting"), str) and _is_count(each.get("size")):
            yield Trial(
                setting=each["setting"],
                size=each["size"],
                metric=_text(each.get("metric")) or None,
                value=finite(each.get("value")),
                worst=finite(each.get("worst")),
                keeps=each.get("keeps") is True,
            )


def _tensors(row: DetailRow) -> Iterator[Tensor]:
    for each in _objects(row.detail.get("tensors")):
        if isinstance(each.get("name"), str) and _is_pair(size := each.get("size")):
            shape = each.get("shape")
            yield Tensor(
                name=each["name"],
                shape=[side for side in shape if _is_count(side)] if isinstance(shape, list | tuple) else [],
                before=_text(each.get("before")),
                after=_text(each.get("after")),
                size=(size[0], size[1]),
                sqnr=finite(each.get("sqnr")),
            )


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list | tuple):
        yield from (each for each in value if isinstance(each, Mapping))


def finite(value: object) -> float | None:
    """Return a number that is finite and no larger than a float holds, None for whatever else JSON can hold."""
    if isinstance(value, float) and math.isfinite(value):
        return value
    return value if _is_integer(value) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LIMIT


def _is_count(value: object) -> TypeGuard[int]:
    return _is_integer(value) and value >= 0


def _is_pair(value: object) -> TypeGuard[Sequence[int]]:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_count, value))
