"""Store floats in 16 bits: cast them a chunk at a time, measure the error on the way, and judge it a tensor at a time.

The error is the signal-to-quantization-noise ratio, SQNR = 10 log10(sum x^2 / sum (x - x')^2) in dB, where x' is what a loader gets
back. The sums of short runs are added in float64, in the order of the elements, so that no number of threads changes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.models.scratch import scratch

Float16: TypeAlias = Literal["F16", "BF16"]
"""The dtypes of 16 bits that a float may be stored in."""

BLOCK = 1 << 18
"""Elements worked on at a time. Fewer would fit a core's own cache, but threads would wait for each other between the calls of numpy."""

_RUN = 1024
"""Elements whose squares are added in float32: so few that nothing which counts is lost."""

_SAFE = (2.0**-60, 2.0**100)
"""Between these, a block's sum of squares loses nothing that counts in float32, to underflow or overflow."""

_LARGEST = 65520.0
"""The smallest number that float16 rounds to infinity."""
_SMALLEST_NORMAL = 0x38800000
"""The bits of 2^-14: floats without a sign are ordered as their bits are."""
_ROUNDER = np.float32(1.5 * 2**13)
_TO_FLOAT16 = np.float32(2.0**-112)
"""The exponents of float32 and float16 are biased by 127 and 15."""


@dataclass(frozen=True, slots=True)
class ErrorSum:
    """The sums of x^2 and of (x - x')^2 over some elements."""

    signal: float = 0.0
    noise: float = 0.0

    def __add__(self, other: ErrorSum) -> ErrorSum:
        return ErrorSum(self.signal + other.signal, self.noise + other.noise)

    @property
    def finite(self) -> bool:
        """Whether all elements were finite: squares of float32 cannot overflow a float64."""
        return math.isfinite(self.signal)

    @property
    def overflows(self) -> bool:
        """Whether a finite element became infinite."""
        return self.finite and not math.isfinite(self.noise)

    @property
    def sqnr(self) -> float | None:
        """The ratio in dB; None where there is no error, -inf where nothing is left."""
        if self.noise == 0:
            return None
        if not self.finite or self.overflows or self.signal == 0:
            return -math.inf
        return 10 * (math.log10(self.signal) - math.log10(self.noise))


def total(parts: Iterable[ErrorSum]) -> ErrorSum:
    """Return the sum over all parts, added in their order."""
    return sum(parts, ErrorSum())


def cast_chunk(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> ErrorSum:
    """Cast float32 values into `out` (of the type to store, from `numpy_dtype`, as long), and return the error."""
    error = ErrorSum()
    cast = _cast_to_float16 if out.dtype == np.float16 else _cast
    with np.errstate(all="ignore"):
        for start in range(0, values.size, BLOCK):
            piece = values[start : start + BLOCK]
            error += compare(piece, cast(piece, out[start : start + BLOCK]))
    return error


def _cast(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cast a block by numpy or ml_dtypes, and return it cast back."""
    np.copyto(out, values, casting="unsafe")
    back = scratch("back", np.float32, values.size)
    np.copyto(back, out, casting="unsafe")
    return back


def _cast_to_float16(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Do the same, to the same bits, in a third of the time that numpy takes, which casts to float16 one element at a time.

    x' = (x + c) - c rounds x to the bits that float16 keeps, ties to even, where c is 1.5 * 2^13 times the power of two below |x|, or
    below the smallest normal number. Times 2^-112 the bits of x' are float16's, 13 to the left, and the sign.
    """
    if not (values.min() > -_LARGEST and values.max() < _LARGEST):
        return _cast(values, out)
    back, bits, sign = (scratch(name, np.uint32, values.size) for name in ("back", "bits", "sign"))
    rounded, rounder = back.view(np.float32), bits.view(np.float32)
    np.bitwise_and(values.view(np.uint32), 0x7F800000, out=bits)
    np.maximum(bits, _SMALLEST_NORMAL, out=bits)
    np.multiply(rounder, _ROUNDER, out=rounder)
    np.add(values, rounder, out=rounded)
    np.subtract(rounded, rounder, out=rounded)
    np.multiply(rounded, _TO_FLOAT16, out=rounder)
    np.right_shift(bits, 13, out=bits)
    np.bitwise_and(bits, 0x7FFF, out=bits)
    np.right_shift(values.view(np.uint32), 16, out=sign)
    np.bitwise_and(sign, 0x8000, out=sign)
    np.bitwise_or(bits, sign, out=bits)
    np.copyto(out.view(np.uint16), bits, casting="unsafe")
    return rounded


def compare(values: npt.NDArray[Any], again: npt.NDArray[Any]) -> ErrorSum:
    """Return the error of `again`, float32, which is overwritten, against `values`, float32, as long."""
    error = ErrorSum()
    with np.errstate(all="ignore"):
        for start in range(0, values.size, BLOCK):
            piece, difference = values[start : start + BLOCK], again[start : start + BLOCK]
            np.subtract(difference, piece, out=difference)
            error += ErrorSum(_power(piece), _power(difference))
    return error


def why_unfit(error: ErrorSum, what: str, min_sqnr: float) -> str | None:
    """Return why a tensor cannot be stored as `what` with this error, None where it can; `min_sqnr` in dB."""
    if not error.finite:
        return "it holds values that are not finite"
    if error.overflows:
        return f"{what} overflows"
    sqnr = error.sqnr
    if sqnr is not None and sqnr < min_sqnr:
        return f"{what} has {sqnr:.1f} dB" if math.isfinite(sqnr) else f"{what} leaves nothing of it"
    return None


def _power(values: npt.NDArray[Any]) -> float:
    """Return the sum of the squares of float32 values, in float64 where squares in float32 may overflow or vanish."""
    squares = _squares(values)
    if _SAFE[0] < squares < _SAFE[1] or not values.any():
        return squares
    return _squares(values.astype(np.float64))


def _squares(values: npt.NDArray[Any]) -> float:
    """Return the sum of squares: of short runs in the type of the values, which no BLAS would use threads for, then in float64."""
    rows = values[: values.size // _RUN * _RUN].reshape(-1, _RUN)
    rest = values[rows.size :]
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.vecdot(rest, rest))
