"""Find the magnitude below which the smallest share of a tensor's elements lies: exactly, in two looks at it and 512 kB of memory.

The bits of a float without its sign order as its magnitude does (IEEE 754, section 3.4), so that counting is by those bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Bits: TypeAlias = npt.NDArray[Any]
"""Elements as unsigned integers of their width."""

Chunks: TypeAlias = Callable[[], Iterable[Bits]]
"""Gives all elements of a tensor, in order, a chunk at a time; called once for each look."""

_COUNTED = 16
"""Bits that are counted in one look."""


@dataclass(frozen=True, slots=True)
class FloatBits:
    """A float type: the integer that holds it, its bits without the sign, and those of infinity."""

    integer: str
    width: int
    infinity: int

    def magnitude(self, bits: Bits) -> Bits:
        """Return elements without their sign."""
        magnitude: Bits = bits & bits.dtype.type((1 << self.width) - 1)
        return magnitude


FLOATS: Mapping[str, FloatBits] = {
    "F32": FloatBits("<u4", 31, 0x7F800000),
    "F16": FloatBits("<u2", 15, 0x7C00),
    "BF16": FloatBits("<u2", 15, 0x7F80),
}
"""The types that can be pruned, by safetensors' names."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which elements become zero: those with a magnitude below `below`, and the first `ties` of those that have it. `left` stay."""

    below: int
    ties: int
    left: int


class Pruner:
    """Sets elements to zero, chunk after chunk in the tensor's order."""

    def __init__(self, float_bits: FloatBits, cut: Cut) -> None:
        self._float, self._cut, self._ties = float_bits, cut, cut.ties

    def apply(self, bits: Bits) -> npt.NDArray[np.bool_]:
        """Return which elements of the next chunk stay: no zero does."""
        magnitude = self._float.magnitude(bits)
        stay: npt.NDArray[np.bool_] = magnitude > self._cut.below
        if self._cut.below:
            (equal,) = np.nonzero(magnitude == self._cut.below)
            stay[equal[self._ties :]] = True
            self._ties -= min(self._ties, equal.size)
        return stay


def find_cut(chunks: Chunks, float_bits: FloatBits, count: int, amount: float) -> Cut | None:
    """Return the cut that makes the smallest `amount` (0 to 1) of `count` elements zero; None where any is not finite."""
    shift = max(0, float_bits.width - _COUNTED)
    high = _histogram((float_bits.magnitude(each) >> shift for each in chunks()), float_bits.width - shift)
    if high[float_bits.infinity >> shift :].any():
        return None
    wanted = int(count * amount)
    if wanted == 0:
        return Cut(0, 0, count - _zeros(chunks, float_bits))
    place, rest = _place(high, wanted)
    if shift:
        within = (_within(float_bits.magnitude(each), place, shift) for each in chunks())
        low, rest = _place(_histogram(within, shift), rest)
        place = place << shift | low
    return Cut(place, rest, count - (wanted if place else _zeros(chunks, float_bits)))


def _histogram(parts: Iterable[Bits], width: int) -> npt.NDArray[np.int64]:
    counts = np.zeros(1 << width, np.int64)
    for part in parts:
        counts += np.bincount(part, minlength=counts.size)
    return counts


def _place(counts: npt.NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """Return the value of the `wanted`-th smallest, and how many of that value are among those wanted."""
    upto = np.cumsum(counts)
    place = int(np.searchsorted(upto, wanted))
    return place, wanted - int(upto[place] - counts[place])


def _within(magnitude: Bits, place: int, shift: int) -> Bits:
    low: Bits = magnitude[magnitude >> shift == place] & magnitude.dtype.type((1 << shift) - 1)
    return low


def _zeros(chunks: Chunks, float_bits: FloatBits) -> int:
    return sum(int(np.count_nonzero(float_bits.magnitude(each) == 0)) for each in chunks())
