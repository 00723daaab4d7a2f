"""Symmetric 8-bit integers: every group of elements shares a scale, max|x| / 127, and an element is stored as round(x / scale).

No zero point: weights lie around zero, and a zero stays one exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.models.casting import BLOCK, ErrorSum, compare
from hatch_mlbundle.models.dtypes import numpy_dtype
from hatch_mlbundle.models.scratch import scratch

LEVELS = 127
"""The largest stored number: -128 is not used, so that both signs have the same levels."""

_SMALLEST_NORMAL = 2.0**-14
"""The smallest float16 that has all its bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """How elements share scales: rows of `row` elements lie one after another, each cut into groups of `group`, the last one shorter."""

    row: int
    group: int

    @property
    def of_row(self) -> int:
        """Number of groups of a row."""
        return -(-self.row // self.group)

    def lengths(self, count: int) -> npt.NDArray[np.int64]:
        """Return the lengths of the groups of `count` elements: whole rows, or a part of one that begins with a group."""
        if count < self.row or self.row % self.group == 0:
            lengths = np.full(-(-count // self.group), self.group, np.int64)
            lengths[-1:] -= int(lengths.sum()) - count
            return lengths
        row = np.full(self.of_row, self.group, np.int64)
        row[-1] = self.row - self.group * (self.of_row - 1)
        return np.tile(row, count // self.row)

    def before(self, element: int) -> int:
        """Return the number of groups before an element that begins one."""
        rows, column = divmod(element, self.row)
        return rows * self.of_row + column // self.group


def quantize(
    values: npt.NDArray[Any], lengths: npt.NDArray[np.int64], out: npt.NDArray[np.int8], scales: npt.NDArray[Any], dtype: str
) -> ErrorSum:
    """Store float32 `values` as int8 in `out` and the scale of each group in `scales` (float32 or float16), and return the error.

    `dtype` is what a loader gives back: its rounding counts, too. The noise is infinite where a scale is no normal number of its type.
    """
    error = ErrorSum()
    with np.errstate(all="ignore"):
        for first, last, start, end in _blocks(lengths):
            piece = values[start:end]
            scale = _scales(piece, lengths[first:last], scales[first:last])
            spread, shape = _spread(scale, lengths[first:last])
            levels = scratch("levels", np.float32, piece.size)
            table = levels.reshape(shape)
            np.divide(piece.reshape(shape), spread, out=table)
            np.rint(levels, out=levels)
            np.clip(levels, -LEVELS, LEVELS, out=levels)
            np.copyto(out[start:end], levels, casting="unsafe")
            np.multiply(table, spread, out=table)
            error += compare(piece, _as_loaded(levels, dtype))
    return error if _are_normal(scales) or not error.finite else ErrorSum(error.signal, float("inf"))


def _blocks(lengths: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Yield runs of groups that have BLOCK elements together at most, or are one group: (first, last group, start, end element)."""
    ends = np.cumsum(lengths)
    first, start = 0, 0
    while first < lengths.size:
        last = max(first + 1, int(np.searchsorted(ends, start + BLOCK, side="right")))
        end = int(ends[last - 1])
        yield first, last, start, end
        first, start = last, end


def _scales(values: npt.NDArray[Any], lengths: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Write each group's scale to `out`, and return it as it is read back; a group of zeros has the scale 1."""
    starts = np.cumsum(lengths) - lengths
    scale = np.maximum.reduceat(np.abs(values, out=scratch("levels", np.float32, values.size)), starts)
    scale /= LEVELS
    scale[scale == 0] = 1
    np.copyto(out, scale, casting="unsafe")
    return out.astype(np.float32)


def _spread(scale: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """Return the scales so that they fit the elements in a shape, and that shape: a row for each group where all are as long."""
    if np.all(lengths == lengths[0]):
        return scale[:, None], (lengths.size, -1)
    return np.repeat(scale, lengths), (-1,)


def _as_loaded(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    return values if dtype == "F32" else values.astype(numpy_dtype(dtype)).astype(np.float32)


def _are_normal(scales: npt.NDArray[Any]) -> bool:
    if scales.dtype != np.float16:
        return bool(np.all(scales > 0))
    return bool(np.all((scales >= _SMALLEST_NORMAL) & np.isfinite(scales)))
