"""The magnitude below which the smallest share of a tensor lies, against sorting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from mlbundle_torch.pruning.magnitude import FLOATS, Pruner, find_cut

TYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def left(values: Any, dtype: str, amount: float, chunk: int) -> Any:
    """Return the tensor with what is pruned set to zero."""
    bits = values.astype(TYPES[dtype]).view(FLOATS[dtype].integer)

    def chunks() -> Iterator[Any]:
        for start in range(0, bits.size, chunk):
            yield bits[start : start + chunk]

    cut = find_cut(chunks, FLOATS[dtype], bits.size, amount)
    assert cut is not None
    pruner = Pruner(FLOATS[dtype], cut)
    stay = np.concatenate([pruner.apply(each) for each in chunks()])
    assert int(stay.sum()) == cut.left
    return np.where(stay, values.astype(TYPES[dtype]).astype(np.float64), 0)


def by_sorting(values: Any, dtype: str, amount: float) -> Any:
    made = values.astype(TYPES[dtype]).astype(np.float64)
    order = np.argsort(np.abs(made), kind="stable")
    made[order[: int(made.size * amount)]] = 0
    return made


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("amount", [0.001, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["normal", "few values", "half zero", "tiny"])
def test_it_is_what_sorting_gives(dtype: str, amount: float, kind: str) -> None:
    random = np.random.default_rng(7)
    values = random.normal(size=4001).astype(np.float32)
    values = {
        "normal": values,
        "few values": np.round(values),
        "half zero": np.where(random.random(4001) < 0.5, -0.0, values),
        "tiny": values * np.float32(1e-38 if dtype != "F16" else 1e-6),
    }[kind]
    for chunk in (8, 1000, 10_000):
        np.testing.assert_array_equal(left(values, dtype, amount, chunk), by_sorting(values, dtype, amount))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("harm", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_cut(dtype: str, harm: float) -> None:
    values = np.ones(100, np.float32)
    values[70] = harm
    bits = values.astype(TYPES[dtype]).view(FLOATS[dtype].integer)
    assert find_cut(lambda: [bits], FLOATS[dtype], 100, 0.5) is None


def test_an_empty_share_takes_nothing() -> None:
    bits = np.array([1, -1, 0, -0.0], np.float32).view("<u4")
    cut = find_cut(lambda: [bits], FLOATS["F32"], 4, 0.1)
    assert cut is not None
    assert cut.left == 2
    assert Pruner(FLOATS["F32"], cut).apply(bits).tolist() == [True, True, False, False]
