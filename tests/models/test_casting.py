"""Floats of 16 bits: the bits that numpy and ml_dtypes give, and an error that is what it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hatch_mlbundle.models.casting import BLOCK, ErrorSum, cast_chunk, compare, total, why_unfit
from hatch_mlbundle.models.dtypes import numpy_dtype
from tests.models.safesmith import weights


def cast(values: np.ndarray[Any, Any], stored: str) -> tuple[np.ndarray[Any, Any], ErrorSum]:
    out = np.empty(values.size, numpy_dtype(stored))
    return out, cast_chunk(values, out)


@pytest.mark.parametrize("stored", ["F16", "BF16"])
@pytest.mark.parametrize("count", [0, 1, BLOCK, 2 * BLOCK + 3])
def test_bits_are_those_of_a_plain_cast_and_the_error_is_theirs(stored: str, count: int) -> None:
    values = weights(count)
    out, error = cast(values, stored)
    assert np.array_equal(out.view(np.uint16), values.astype(numpy_dtype(stored)).view(np.uint16))
    wide, back = values.astype(np.float64), out.astype(np.float64)
    assert error.signal == pytest.approx(float(np.sum(wide**2)), rel=1e-5)
    assert error.noise == pytest.approx(float(np.sum((wide - back) ** 2)), rel=1e-5)


def test_sqnr_is_ten_times_the_logarithm() -> None:
    assert ErrorSum(1000.0, 1.0).sqnr == pytest.approx(30)
    assert ErrorSum(1.0, 0.0).sqnr is None
    assert ErrorSum(0.0, 1.0).sqnr == -math.inf
    assert total([ErrorSum(1, 2), ErrorSum(3, 4)]) == ErrorSum(4, 6)
    assert total([]) == ErrorSum()


@pytest.mark.parametrize(
    ("factor", "reasons"),
    [
        (1.0, (None, None)),
        (1e6, ("F16 overflows", None)),
        (1e-7, ("F16 has 1", None)),
        (1e-30, ("F16 has 0.0 dB", None)),
        (3.0088e38, ("F16 overflows", "BF16 overflows")),
        (math.nan, ("not finite", "not finite")),
        (math.inf, ("not finite", "not finite")),
        (0.0, (None, None)),
    ],
)
def test_what_does_not_fit_is_told(factor: float, reasons: tuple[str | None, str | None]) -> None:
    values = np.clip(weights(5000), -1.13, 1.13) * np.float32(factor)
    for stored, reason in zip(("F16", "BF16"), reasons, strict=True):
        found = why_unfit(cast(values, stored)[1], stored, 35.0)
        assert (found is None) == (reason is None), found
        assert (reason or "") in (found or "")


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, -1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 65520.0, -1e38])
def test_one_element_is_enough(place: int, value: float) -> None:
    values = weights(2 * BLOCK)
    values[place] = value
    error = cast(values, "F16")[1]
    assert error.finite == math.isfinite(value)
    assert error.overflows == math.isfinite(value)
    assert why_unfit(error, "F16", 35.0) is not None


def test_the_largest_float16_does_not_overflow() -> None:
    assert not cast(np.array([65504.0, 65519.0], np.float32), "F16")[1].overflows


@settings(max_examples=200, deadline=None)
@example([1.0, 1.401298464324817e-45], "F16")  # an error whose square float32 does not know
@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.sampled_from(["F16", "BF16"]))
def test_any_floats_have_an_error_that_fits_them(numbers: list[float], stored: str) -> None:
    values = np.array(numbers, np.float32)
    out, error = cast(values, stored)
    assert error.finite == bool(np.isfinite(values).all())
    if error.finite:
        assert error.overflows == (not bool(np.isfinite(out.astype(np.float32)).all()))
        exact = np.array_equal(out.astype(np.float32), values)
        assert exact == (error.noise == 0)


def test_every_rounding_of_float16_is_that_of_numpy() -> None:
    """All float16, what lies halfway between two of them, and the float32 to both sides of that, with both signs."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    near = [np.nextafter(middles, np.float32(side)) for side in (-np.inf, np.inf)]
    values = np.concatenate([halves, middles, *near, np.float32(2.0) ** np.arange(-149, -24, dtype=np.float32)])
    values = np.concatenate([values, -values])
    assert np.abs(values).max() < 65520
    assert np.array_equal(cast(values, "F16")[0].view(np.uint16), values.astype(np.float16).view(np.uint16))


def test_what_is_compared_may_be_of_any_length() -> None:
    values = weights(BLOCK + 1)
    assert compare(values, values.copy()).noise == 0
    assert compare(values, values + 1).noise == pytest.approx(BLOCK + 1, rel=1e-4)
