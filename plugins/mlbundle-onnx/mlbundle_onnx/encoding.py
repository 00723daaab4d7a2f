"""Store numbers in fewer bytes, streaming: read a block, encode it, write it, and sum up the error (hatch_mlbundle/models/casting.py)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.casting import ErrorSum, cast_chunk, compare, total

from .wire import Range

GROUP = 32
"""Elements that share a scale where one for a row is too coarse."""

_BLOCK = 1 << 17
_THREADS = 4
_BITS = 127.0

Array = np.ndarray[Any, Any]
T = TypeVar("T")

FLOATS = {"FLOAT": np.dtype("<f4"), "DOUBLE": np.dtype("<f8"), "FLOAT16": np.dtype("<f2"), "BFLOAT16": np.dtype(ml_dtypes.bfloat16)}
"""The data types that are made smaller, by their names in ONNX."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A tensor seen as `outer` x `channels` x `inner` elements, each channel of which has a scale of its own."""

    outer: int
    channels: int
    inner: int

    @classmethod
    def of(cls, dims: Sequence[int], axis: int) -> Layout:
        """Return the layout of a tensor whose channels are along `axis`."""
        return cls(math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :]))


@dataclass(frozen=True, slots=True)
class Block:
    """Some elements in a row: `start` counts elements; `channels` are those it touches, `shape` is outer x channels x inner."""

    start: int
    shape: tuple[int, int, int]
    channels: slice

    @property
    def count(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


def blocks(layout: Layout) -> Iterator[Block]:
    """Yield blocks of some 130,000 elements that cover a tensor."""
    plane = layout.channels * layout.inner
    if plane <= _BLOCK:
        step = max(1, _BLOCK // max(1, plane))
        for first in range(0, layout.outer, step):
            yield Block(first * plane, (min(step, layout.outer - first), layout.channels, layout.inner), slice(0, layout.channels))
        return
    step = max(1, _BLOCK // layout.inner)
    for outer in range(layout.outer):
        for first in range(0, layout.channels, step):
            count = min(step, layout.channels - first)
            start = outer * plane + first * layout.inner
            for inner in range(0, layout.inner, _BLOCK) if layout.inner > _BLOCK else (0,):
                width = min(_BLOCK, layout.inner - inner) if layout.inner > _BLOCK else layout.inner
                yield Block(start + inner, (1, count, width), slice(first, first + count))


class Source(AbstractContextManager["Source"]):
    """The values of a tensor: `data` as it lies in its file, `type` by its ONNX name. A context manager.

    `underflows` says whether a value that was read is too small for float32, in which errors are measured.
    """

    def __init__(self, data: Range, type: str) -> None:  # noqa: A002
        self._data = data
        self._dtype = FLOATS[type]
        self.count = data.length // self._dtype.itemsize
        self.underflows = False
        self._file = os.open(data.path, os.O_RDONLY)

    def __exit__(self, *reason: object) -> None:
        os.close(self._file)

    def read(self, block: Block) -> Array:
        """Return a block's values as float32; raises ModelError where the file ends before."""
        size = block.count * self._dtype.itemsize
        data = _pread(self._file, size, self._data.start + block.start * self._dtype.itemsize)
        if len(data) < size:
            raise ModelError(f"{self._data.path.name}: ends early")
        given = np.frombuffer(data, self._dtype)
        with np.errstate(over="ignore", under="ignore"):
            values = given.astype(np.float32, copy=False)
        if self._dtype.itemsize > 4 and np.count_nonzero(values) < np.count_nonzero(given):
            self.underflows = True
        return values.reshape(block.shape)


def largest(source: Source, layout: Layout) -> Array | None:
    """Return the largest absolute value of each channel; None where a value is not finite."""
    found = np.zeros(layout.channels, np.float32)

    def look(block: Block) -> tuple[slice, Array]:
        with np.errstate(invalid="ignore"):
            values = source.read(block)
            return block.channels, np.maximum(values.max(axis=(0, 2)), -values.min(axis=(0, 2)))

    for channels, values in _each(look, blocks(layout)):
        found[channels] = np.maximum(found[channels], values)
    return found if np.isfinite(found).all() else None


def write_float(source: Source, dtype: str, out: int, offset: int) -> ErrorSum:
    """Write all values as FLOAT16 or BFLOAT16 to the open file `out`, and return the error."""

    def write(block: Block) -> ErrorSum:
        values = source.read(block).reshape(-1)
        stored = np.empty(values.shape, FLOATS[dtype])
        error = cast_chunk(values, stored)
        _pwrite(out, stored, offset + 2 * block.start)
        return error

    return total(_each(write, blocks(Layout(source.count, 1, 1))))


def write_channels(source: Source, layout: Layout, scales: Array, out: int, offset: int) -> ErrorSum:
    """Write all values as int8, `value = int8 x scale` of the channel, to the open file `out`, and return the error."""

    def write(block: Block) -> ErrorSum:
        values = source.read(block)
        stored, after = _quantized(values, scales[block.channels].reshape(1, -1, 1))
        _pwrite(out, stored, offset + block.start)
        return compare(values.reshape(-1), after)

    return total(_each(write, blocks(layout)))


def write_groups(source: Source, out: int, offset: int) -> tuple[ErrorSum, Array]:
    """Write all values as int8 with a scale for each 32 to the open file `out`; return the error, and the scales."""
    scales = np.empty(source.count // GROUP, np.float32)

    def write(block: Block) -> ErrorSum:
        values = source.read(block).reshape(-1, GROUP)
        scale = scales_of(np.maximum(values.max(axis=1, keepdims=True), -values.min(axis=1, keepdims=True)))
        first = block.start // GROUP
        scales[first : first + len(scale)] = scale.ravel()
        stored, after = _quantized(values, scale)
        _pwrite(out, stored, offset + block.start)
        return compare(values.reshape(-1), after)

    return total(_each(write, blocks(Layout(source.count // GROUP, 1, GROUP)))), scales


def scales_of(largest_values: Array) -> Array:
    """Return the scales by which values up to these fill int8's range."""
    scales: Array = (largest_values / np.float32(_BITS)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1
    return scales


def _quantized(values: Array, scale: Array) -> tuple[Array, Array]:
    """Return values as int8, and what a loader makes of them again, as a vector."""
    rounded = np.rint(values / scale)
    np.clip(rounded, -_BITS, _BITS, out=rounded)
    stored: Array = rounded.astype(np.int8)
    rounded *= scale
    return stored, rounded.reshape(-1)


def _each(work: Callable[[Block], T], todo: Iterator[Block]) -> Iterator[T]:
    """Yield what the work on each block gives, in order, some blocks at a time."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        yield from pool.map(work, todo)


def _pread(file: int, size: int, offset: int) -> bytes:
    data = os.pread(file, size, offset)
    while data and len(data) < size:
        more = os.pread(file, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _pwrite(file: int, values: Array, offset: int) -> None:
    view = memoryview(np.ascontiguousarray(values).tobytes())
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count
