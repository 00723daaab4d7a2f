"""Read the elements of a tensor in row-major order out of a storage, a few MB at a time, whatever its strides are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeAlias

from .torch_values import Tensor

Read: TypeAlias = Callable[[int, int], bytes]
"""Returns so many bytes of a storage from an offset on: called with offset and size."""

Chunk: TypeAlias = bytes | bytearray
"""A piece of a tensor's bytes; nobody changes it."""

BLOCK = 1 << 20
"""Bytes that are yielded at a time at most of what is contiguous."""
GATHERED = 8 << 20
"""Bytes that are yielded at a time at most of what is not: the more, the longer the runs that are read."""
SPAN = 4 << 20
"""Bytes that are read at once at most, to pick some of them."""

_FORMATS: Mapping[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class _Axes:
    """Elements from `start` on: so many along each axis, so many elements of the storage apart."""

    start: int
    lengths: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.lengths)

    @property
    def extent(self) -> int:
        return 1 + sum((length - 1) * step for length, step in zip(self.lengths, self.steps, strict=True))


def why_not_row_major(tensor: Tensor) -> str | None:
    """Return why `row_major_chunks` cannot read a tensor, None where it can."""
    if is_contiguous(tensor):
        return None
    if any(step == 0 and length > 1 for length, step in zip(tensor.shape, tensor.stride, strict=True)):
        return "it repeats elements (a stride of 0)"
    return None if tensor.item_size in _FORMATS else f"it is not contiguous, and has elements of {tensor.item_size} bytes"


def is_contiguous(tensor: Tensor) -> bool:
    """Say whether the elements lie in row-major order without gaps."""
    axes = _simplified(tensor)
    return not tensor.count or axes.steps in ((), (1,))


def row_major_chunks(tensor: Tensor, read: Read) -> Iterator[Chunk]:
    """Yield a tensor's bytes in row-major order; it must be one that `why_not_row_major` has nothing against."""
    if not tensor.count:
        return
    if is_contiguous(tensor):
        yield from ranged_chunks(*tensor.byte_range, read)
        return
    for block in _blocks(_simplified(tensor), tensor.item_size):
        yield _gathered(block, tensor.item_size, read)


def ranged_chunks(start: int, end: int, read: Read) -> Iterator[bytes]:
    """Yield the bytes of a storage from `start` to `end`."""
    for at in range(start, end, BLOCK):
        yield read(at, min(BLOCK, end - at))


def _simplified(tensor: Tensor) -> _Axes:
    """Leave out axes of one element, and take those together that are one axis cut in pieces."""
    lengths: list[int] = []
    steps: list[int] = []
    for length, step in zip(tensor.shape, tensor.stride, strict=True):
        if length == 1:
            continue
        if lengths and steps[-1] == step * length:
            lengths[-1] *= length
            steps[-1] = step
        else:
            lengths.append(length)
            steps.append(step)
    return _Axes(tensor.offset, tuple(lengths), tuple(steps))


def _blocks(axes: _Axes, item: int) -> Iterator[_Axes]:
    """Cut along the first axis, and where that is not enough along the next, until each part fits `GATHERED`, and `SPAN` if it can."""
    (length, *inner), (step, *inner_steps) = axes.lengths, axes.steps
    row = math.prod(inner) * item
    at_once = GATHERED // row
    if step == max(axes.steps):
        at_once = min(at_once, max(1, SPAN // (step * item)))
    if not at_once and inner:
        for index in range(length):
            yield from _blocks(_Axes(axes.start + index * step, tuple(inner), tuple(inner_steps)), item)
        return
    for index in range(0, length, at_once):
        part = min(at_once, length - index)
        yield replace(axes, start=axes.start + index * step, lengths=(part, *inner))


def _gathered(axes: _Axes, item: int, read: Read) -> bytearray:
    """Return one block: read as a whole where its elements lie near each other, else run by run along the densest axis."""
    out = bytearray(axes.count * item)
    target = memoryview(out).cast(_FORMATS[item])
    near = axes.extent * item <= SPAN
    source = _items(read, axes.start, axes.extent, item) if near else None
    axis = axes.lengths.index(max(axes.lengths)) if near else axes.steps.index(min(axes.steps))
    length, step = axes.lengths[axis], axes.steps[axis]
    strides = [math.prod(axes.lengths[number + 1 :]) for number in range(len(axes.lengths))]
    others = [range(each) if number != axis else range(1) for number, each in enumerate(axes.lengths)]
    for index in product(*others):
        at = sum(each * stride for each, stride in zip(index, strides, strict=True))
        start = sum(each * move for each, move in zip(index, axes.steps, strict=True))
        run = target[at : at + (length - 1) * strides[axis] + 1 : strides[axis]]
        if source is not None:
            run[:] = source[start : start + (length - 1) * step + 1 : step]
        else:
            _read_run(run, axes.start + start, step, item, read)
    return out


def _read_run(run: memoryview[int], start: int, step: int, item: int, read: Read) -> None:
    """Fill `run` with every `step`th element from `start` on."""
    at_once = max(1, SPAN // (step * item))
    for index in range(0, len(run), at_once):
        part = run[index : index + at_once]
        part[:] = _items(read, start + index * step, (len(part) - 1) * step + 1, item)[::step]


def _items(read: Read, start: int, count: int, item: int) -> memoryview[int]:
    return memoryview(read(start * item, count * item)).cast(_FORMATS[item])
