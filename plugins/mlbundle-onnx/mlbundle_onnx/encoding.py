"""Store numbers in fewer bytes, streaming: read a block, encode it, write it, and sum up the error.

Signal-to-quantization-noise ratio: 10 log10(sum x^2 / sum (x - x')^2), in dB; None where nothing was lost.
"""

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

from .wire import Range

GROUP = 32
"""Elements that share a scale where one for a row is too coarse."""

_BLOCK = 1 << 19
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


@dataclass(frozen=True, slots=True)
class Error:
    """Sums of squares of the values and of their errors; `fits` says that each value is finite before and after."""

    signal: float
    noise: float
    fits: bool = True

    @property
    def sqnr(self) -> float | None:
        """The ratio in dB; None where nothing was lost."""
        if self.noise == 0:
            return None
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf


def blocks(layout: Layout) -> Iterator[Block]:
    """Yield blocks of some 500,000 elements that cover a tensor."""
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
    """The values of a tensor: `data` as it lies in its file, `type` by its ONNX name. A context manager."""

    def __init__(self, data: Range, type: str) -> None:  # noqa: A002
        self._data = data
        self._dtype = FLOATS[type]
        self.count = data.length // self._dtype.itemsize
        self._file = os.open(data.path, os.O_RDONLY)

    def __exit__(self, *reason: object) -> None:
        os.close(self._file)

    def read(self, block: Block) -> Array:
        """Return a block's values, as float32 or, where they are that, float64; raises ModelError where the file ends before."""
        size = block.count * self._dtype.itemsize
        data = _pread(self._file, size, self._data.start + block.start * self._dtype.itemsize)
        if len(data) < size:
            raise ModelError(f"{self._data.path.name}: ends early")
        values = np.frombuffer(data, self._dtype).reshape(block.shape)
        return values if self._dtype.itemsize == 8 else values.astype(np.float32, copy=False)


def largest(source: Source, layout: Layout) -> Array | None:
    """Return the largest absolute value of each channel; None where a value is not finite."""
    found = np.zeros(layout.channels, np.float32)

    def look(block: Block) -> tuple[slice, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            return block.channels, np.abs(source.read(block)).max(axis=(0, 2)).astype(np.float32)

    for channels, values in _each(look, blocks(layout)):
        found[channels] = np.maximum(found[channels], values)
    return found if np.isfinite(found).all() else None


def write_float(source: Source, dtype: str, out: int, offset: int) -> Error:
    """Write all values as FLOAT16 or BFLOAT16 to the open file `out`; what it returns has `fits` false where one is or gets non-finite."""

    def write(block: Block) -> Error:
        values = source.read(block)
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values.astype(FLOATS[dtype])
            after = stored.astype(values.dtype)
        _pwrite(out, stored, offset + 2 * block.start)
        return _error(values, after)

    return _sum(_each(write, blocks(Layout(source.count, 1, 1))))


def write_channels(source: Source, layout: Layout, scales: Array, out: int, offset: int) -> Error:
    """Write all values as int8, `value = int8 x scale` of the channel, to the open file `out`."""

    def write(block: Block) -> Error:
        values = source.read(block)
        scale = scales[block.channels].reshape(1, -1, 1)
        stored = _quantized(values, scale)
        _pwrite(out, stored, offset + block.start)
        return _error(values, stored.astype(np.float32) * scale)

    return _sum(_each(write, blocks(layout)))


def write_groups(source: Source, out: int, offset: int) -> tuple[Error, Array]:
    """Write all values as int8 with a scale for each 32 to the open file `out`; return the error, and the scales."""
    scales = np.empty(source.count // GROUP, np.float32)

    def write(block: Block) -> Error:
        values = source.read(block).reshape(-1, GROUP)
        scale = scales_of(np.abs(values).max(axis=1, keepdims=True).astype(np.float32))
        first = block.start // GROUP
        scales[first : first + len(scale)] = scale.ravel()
        stored = _quantized(values, scale)
        _pwrite(out, stored, offset + block.start)
        return _error(values, stored.astype(np.float32) * scale)

    return _sum(_each(write, blocks(Layout(source.count // GROUP, 1, GROUP)))), scales


def scales_of(largest_values: Array) -> Array:
    """Return the scales by which values up to these fill int8's range."""
    scales: Array = (largest_values / np.float32(_BITS)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1
    return scales


def _quantized(values: Array, scale: Array) -> Array:
    scaled = values / scale
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_BITS, _BITS, out=scaled)
    stored: Array = scaled.astype(np.int8)
    return stored


def _error(before: Array, after: Array) -> Error:
    fits = bool(np.isfinite(after).all())
    with np.errstate(over="ignore", invalid="ignore"):
        signal = before.astype(np.float64)
        noise = signal - after
        return Error(float(np.square(signal).sum()), float(np.square(noise).sum()), fits)


def _sum(errors: Iterator[Error]) -> Error:
    signal = noise = 0.0
    fits = True
    for each in errors:
        signal, noise, fits = signal + each.signal, noise + each.noise, fits and each.fits
    return Error(signal, noise, fits)


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
