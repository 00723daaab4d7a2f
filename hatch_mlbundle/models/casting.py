"""Store floats in 16 bits: cast them a chunk at a time, measure the error on the way, and judge it a tensor at a time.

The error is the signal-to-quantization-noise ratio, SQNR = 10 log10(sum x^2 / sum (x - x')^2) in dB, where x' is what a loader gets
back. Its sums are in float64, chunk by chunk in the order of the elements, so that no number of threads changes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Float16: TypeAlias = Literal["F16", "BF16"]
"""The dtypes of 16 bits that a float may be stored in."""

FALLBACKS: dict[str, tuple[Float16, ...]] = {"F16": ("F16", "BF16"), "BF16": ("BF16",)}
"""What is tried for a tensor that is wanted in a dtype, in this order: bfloat16 has float32's range."""

BLOCK = 1 << 15
"""Elements worked on at a time: what fits a core's own cache."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatChoice:
    """How a tensor is to be stored: `stored` is None where it stays as it is; `reason` says why it is not as was wanted."""

    stored: Float16 | None
    error: ErrorSum
    reason: str = ""


def total(parts: Iterable[ErrorSum]) -> ErrorSum:
    """Return the sum over all parts, added in their order."""
    return sum(parts, ErrorSum())


def cast_chunk(values: npt.NDArray[Any], out: npt.NDArray[Any]) -> ErrorSum:
    """Cast float32 values into `out` (of the type to store, from `numpy_dtype`, as long), and return the error."""
    error = ErrorSum()
    back = np.empty(min(BLOCK, values.size), np.float32)
    with np.errstate(all="ignore"):
        for start in range(0, values.size, BLOCK):
            piece, made = values[start : start + BLOCK], out[start : start + BLOCK]
            np.copyto(made, piece, casting="unsafe")
            again = back[: piece.size]
            np.copyto(again, made, casting="unsafe")
            error += compare(piece, again)
    return error


def compare(values: npt.NDArray[Any], again: npt.NDArray[Any]) -> ErrorSum:
    """Return the error of `again`, float32, which is overwritten, against `values`, float32, as long."""
    error = ErrorSum()
    wide = np.empty(min(BLOCK, values.size), np.float64)
    with np.errstate(all="ignore"):
        for start in range(0, values.size, BLOCK):
            piece, difference = values[start : start + BLOCK], again[start : start + BLOCK]
            np.subtract(difference, piece, out=difference)
            error += ErrorSum(_squares(piece, wide), _squares(difference, wide))
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


def choose_float(measure: Callable[[Float16], ErrorSum], wanted: Float16, min_sqnr: float) -> FloatChoice:
    """Return the first dtype that does, of `wanted` and its fallbacks; `measure` gives a dtype's error over the whole tensor."""
    reasons: list[str] = []
    error = ErrorSum()
    for stored in FALLBACKS[wanted]:
        error = measure(stored)
        reason = why_unfit(error, stored, min_sqnr)
        if reason is None:
            return FloatChoice(stored=stored, error=error, reason="; ".join(reasons))
        reasons.append(reason)
        if not error.finite:
            break
    return FloatChoice(stored=None, error=error, reason="; ".join(reasons))


def _squares(values: npt.NDArray[Any], wide: npt.NDArray[Any]) -> float:
    """Return the sum of squares in float64. numpy's einsum has no threads of its own, as a BLAS would."""
    squared = wide[: values.size]
    np.copyto(squared, values)
    return float(np.einsum("i,i->", squared, squared))
