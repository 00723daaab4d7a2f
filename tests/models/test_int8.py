"""8-bit integers: what the formula says, for rows and for groups, even and not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.models.dtypes import numpy_dtype
from hatch_mlbundle.models.int8 import Groups, quantize
from tests.models.safesmith import weights


def by_formula(values: np.ndarray[Any, Any], group: int, scale_type: Any) -> tuple[np.ndarray[Any, Any], list[Any]]:
    """Quantize row by row and group by group, as one would write it down."""
    stored, scales = np.zeros(values.shape, np.int8), []
    for row in range(values.shape[0]):
        for start in range(0, values.shape[1], group):
            piece = values[row, start : start + group]
            scale = np.float32(np.abs(piece).max()) / np.float32(127)
            scale = scale_type(scale or 1)
            scales.append(scale)
            stored[row, start : start + group] = np.clip(np.rint(piece / np.float32(scale)), -127, 127)
    return stored, scales


@pytest.mark.parametrize(
    ("rows", "columns", "group"), [(3, 64, 32), (4, 70, 32), (1, 5, 32), (70, 1000, 1000), (3, 40_000, 40_000), (2, 33, 32)]
)
@pytest.mark.parametrize("scale_dtype", ["F32", "F16"])
def test_integers_and_scales_are_those_of_the_formula(rows: int, columns: int, group: int, scale_dtype: str) -> None:
    values = weights(rows, columns)
    values[0, :group] = 0
    groups = Groups(row=columns, group=group)
    lengths = groups.lengths(values.size)
    out, scales = np.empty(values.size, np.int8), np.empty(lengths.size, numpy_dtype(scale_dtype))
    error = quantize(values.reshape(-1), lengths, out, scales, "F32")
    stored, wanted = by_formula(values, group, numpy_dtype(scale_dtype).type)
    assert np.array_equal(out.reshape(values.shape), stored)
    assert scales.tolist() == [float(each) for each in wanted]
    loaded = out.astype(np.float32) * np.repeat(scales.astype(np.float32), lengths)
    assert error.noise == pytest.approx(float(np.sum((values.reshape(-1).astype(np.float64) - loaded) ** 2)), rel=1e-5)
    assert lengths.size == rows * groups.of_row


def test_a_part_of_a_row_has_the_groups_that_it_would_have_in_it() -> None:
    groups = Groups(row=100, group=32)
    assert groups.lengths(64).tolist() == [32, 32]
    assert groups.lengths(36).tolist() == [32, 4]
    assert groups.lengths(200).tolist() == [32, 32, 32, 4] * 2
    assert [groups.before(element) for element in (0, 32, 96, 100, 164)] == [0, 1, 3, 4, 6]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found(value: float) -> None:
    values = weights(64)
    values[40] = value
    scales = np.empty(2, np.float16)
    assert not quantize(values, np.array([32, 32]), np.empty(64, np.int8), scales, "F32").finite


@pytest.mark.parametrize(("scale", "fits"), [(1.0, True), (1e-2, True), (1e-6, False), (1e8, False)])
def test_a_scale_that_16_bits_cannot_hold_well_is_found(scale: float, fits: bool) -> None:
    values = weights(64, scale=scale)
    narrow = quantize(values, np.array([32, 32]), np.empty(64, np.int8), np.empty(2, np.float16), "F32")
    wide = quantize(values, np.array([32, 32]), np.empty(64, np.int8), np.empty(2, np.float32), "F32")
    assert narrow.overflows == (not fits)
    assert not wide.overflows


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_the_rounding_of_what_is_given_back_counts(dtype: str) -> None:
    values = weights(4096).astype(numpy_dtype(dtype)).astype(np.float32)
    lengths = np.array([4096])
    out, scales = np.empty(4096, np.int8), np.empty(1, np.float32)
    error = quantize(values, lengths, out, scales, dtype)
    loaded = (out.astype(np.float32) * scales[0]).astype(numpy_dtype(dtype)).astype(np.float64)
    assert error.noise == pytest.approx(float(np.sum((values.astype(np.float64) - loaded) ** 2)), rel=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-(2.0**127), 2.0**127, width=32), min_size=1, max_size=70), st.integers(1, 40))
def test_any_finite_floats_are_stored_within_half_a_step(numbers: list[float], group: int) -> None:
    values = np.array(numbers, np.float32)
    lengths = Groups(row=values.size, group=min(group, values.size)).lengths(values.size)
    out, scales = np.empty(values.size, np.int8), np.empty(lengths.size, np.float32)
    error = quantize(values, lengths, out, scales, "F32")
    assert error.finite
    spread = np.repeat(scales.astype(np.float64), lengths)
    off = np.abs(values.astype(np.float64) - out * spread)
    normal = np.repeat(np.maximum.reduceat(np.abs(values), np.cumsum(lengths) - lengths) > 1e-35, lengths)
    assert np.all(off[normal] <= 0.5001 * spread[normal])
    assert int(out.min()) >= -127
