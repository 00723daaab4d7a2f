"""The ways to store a tensor: what parts it then has, how it is cut into pieces that are worked on alone, and what becomes of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.models.casting import ErrorSum, Float16, cast_chunk
from hatch_mlbundle.models.dtypes import SIZES, numpy_dtype
from hatch_mlbundle.models.int8 import Groups, quantize
from hatch_mlbundle.models.safetensors import Tensor
from hatch_mlbundle.models.scratch import scratch

CHUNK = 4 << 20
"""Bytes read at a time."""

ELEMENTS = CHUNK // 4
"""Elements worked on at a time."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a tensor: the offsets of its bytes from the tensor's first."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Made:
    """Bytes to write into a part of the result, at an offset from its first byte."""

    part: str
    offset: int
    data: npt.NDArray[Any]


class Encoding(ABC):
    """One way to store a tensor."""

    @abstractmethod
    def parts(self, tensor: Tensor) -> Mapping[str, int]:
        """Return the bytes of each part that the tensor has when it is stored."""

    @abstractmethod
    def cuts(self, tensor: Tensor) -> Iterator[Cut]:
        """Yield the pieces, in order, of at most CHUNK bytes."""

    @abstractmethod
    def encode(self, raw: npt.NDArray[np.uint8], cut: Cut, tensor: Tensor) -> tuple[list[Made], ErrorSum | None]:
        """Return what a piece becomes, and the error of it, None where it is exact; the bytes are the thread's scratch."""

    def size(self, tensor: Tensor) -> int:
        """Return the bytes of all parts."""
        return sum(self.parts(tensor).values())


@dataclass(frozen=True, slots=True)
class AsItWas(Encoding):
    """The bytes unchanged."""

    def parts(self, tensor: Tensor) -> Mapping[str, int]:
        """Return its one part."""
        return {"data": tensor.nbytes}

    def cuts(self, tensor: Tensor) -> Iterator[Cut]:
        """Yield chunks of bytes: some elements fill no whole byte."""
        return _evenly(tensor.nbytes, CHUNK)

    def encode(self, raw: npt.NDArray[np.uint8], cut: Cut, tensor: Tensor) -> tuple[list[Made], ErrorSum | None]:
        """Return the bytes."""
        return [Made("data", cut.start, raw)], None


@dataclass(frozen=True, slots=True)
class Cast(Encoding):
    """A float of 16 bits for each float32."""

    stored: Float16

    def parts(self, tensor: Tensor) -> Mapping[str, int]:
        """Return its one part."""
        return {"data": tensor.count * SIZES[self.stored]}

    def cuts(self, tensor: Tensor) -> Iterator[Cut]:
        """Yield chunks of whole elements."""
        return _evenly(tensor.nbytes, CHUNK)

    def encode(self, raw: npt.NDArray[np.uint8], cut: Cut, tensor: Tensor) -> tuple[list[Made], ErrorSum | None]:
        """Return the cast elements."""
        values = _as_float32(raw, tensor.dtype)
        out = scratch("cast", numpy_dtype(self.stored), values.size)
        error = cast_chunk(values, out)
        return [Made("data", cut.start // SIZES[tensor.dtype] * SIZES[self.stored], out)], error


@dataclass(frozen=True, slots=True)
class Int8(Encoding):
    """Integers of 8 bits, with a scale for each row (the first axis), or, where `group` is not 0, for so many elements of a row."""

    group: int = 0
    scale_dtype: str = "F32"

    def groups(self, tensor: Tensor) -> Groups:
        """Return how the tensor's elements share scales; it must have a row, and an element in it."""
        row = tensor.count // tensor.shape[0]
        return Groups(row=row, group=self.group or row)

    def parts(self, tensor: Tensor) -> Mapping[str, int]:
        """Return the integers and the scales."""
        scales = tensor.shape[0] * self.groups(tensor).of_row
        return {"data": tensor.count, "scale": scales * SIZES[self.scale_dtype]}

    def fits(self, tensor: Tensor) -> bool:
        """Say whether the elements of one scale can be worked on in one piece."""
        return self.groups(tensor).group <= ELEMENTS

    def cuts(self, tensor: Tensor) -> Iterator[Cut]:
        """Yield runs of whole rows, or, where a row is longer than a piece may be, of whole groups of it."""
        size, groups = SIZES[tensor.dtype], self.groups(tensor)
        if groups.row <= ELEMENTS:
            yield from _evenly(tensor.nbytes, ELEMENTS // groups.row * groups.row * size)
            return
        step = ELEMENTS // groups.group * groups.group * size
        for start in range(0, tensor.nbytes, groups.row * size):
            for cut in _evenly(groups.row * size, step):
                yield Cut(start + cut.start, start + cut.end)

    def encode(self, raw: npt.NDArray[np.uint8], cut: Cut, tensor: Tensor) -> tuple[list[Made], ErrorSum | None]:
        """Return the integers and the scales of these rows."""
        groups, first = self.groups(tensor), cut.start // SIZES[tensor.dtype]
        values = _as_float32(raw, tensor.dtype)
        lengths = groups.lengths(values.size)
        out = scratch("int8", np.int8, values.size)
        scales = scratch("scales", numpy_dtype(self.scale_dtype), lengths.size)
        error = quantize(values, lengths, out, scales, tensor.dtype)
        offset = groups.before(first) * SIZES[self.scale_dtype]
        return [Made("data", first, out), Made("scale", offset, scales)], error


def _evenly(size: int, step: int) -> Iterator[Cut]:
    for start in range(0, size, step):
        yield Cut(start, min(start + step, size))


def _as_float32(raw: npt.NDArray[np.uint8], dtype: str) -> npt.NDArray[Any]:
    values = raw.view(numpy_dtype(dtype))
    if dtype == "F32":
        return values
    wide = scratch("wide", np.float32, values.size)
    np.copyto(wide, values)
    return wide
