from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hatch_mlbundle.accuracy.metrics import DifferentOutputsError, agreement, cosine, reduced, relative_error, value_of, worst_of
from hatch_mlbundle.accuracy_settings import Metric


@pytest.fixture
def vectors() -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    before = random.normal(size=(3, 50))
    return before, before + random.normal(size=(3, 50)) * 0.1


def test_the_metrics_are_what_their_formulas_say(vectors: tuple[Any, Any]) -> None:
    before, after = vectors
    a, b = before.ravel(), after.ravel()
    assert cosine(before, after) == pytest.approx(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))
    assert relative_error(before, after) == pytest.approx(np.sqrt(((a - b) ** 2).sum() / (a**2).sum()))
    assert agreement(np.array([[1, 2], [4, 3], [5, 6]]), np.array([[0, 9], [1, 2], [7, 8]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("factor", [1e-300, 1e-160, 1e160, 1e300])
def test_no_size_of_the_numbers_changes_the_error(vectors: tuple[Any, Any], factor: float) -> None:
    before, after = vectors
    assert cosine(before * factor, after * factor) == pytest.approx(cosine(before, after))
    assert relative_error(before * factor, after * factor) == pytest.approx(relative_error(before, after))


def test_float16_is_computed_as_float64() -> None:
    large = np.full(10_000, 60_000, "f2")
    assert cosine(large, large) == pytest.approx(1)
    assert relative_error(large, large) == 0


def test_a_vector_of_zeros_is_like_another_one_only() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    assert [cosine(zeros, zeros), cosine(zeros, ones), cosine(ones, zeros)] == [1, 0, 0]
    assert [relative_error(zeros, zeros), relative_error(zeros, ones), relative_error(ones, zeros)] == [0, math.inf, 1]


@pytest.mark.parametrize("metric", [cosine, relative_error])
def test_a_mask_of_infinities_is_no_error_where_it_is_the_same(metric: Any) -> None:
    masked = np.array([-np.inf, 1, 2, np.nan])
    assert metric(masked, masked) == metric(masked[1:3], masked[1:3])
    for other in ([-np.inf, 1, 2, 3], [-np.inf, 1, np.nan, np.nan], [np.inf, 1, 2, np.nan], [-np.inf, 1, np.inf, np.nan]):
        assert math.isnan(metric(masked, np.array(other)))


def test_top_1_takes_no_nan() -> None:
    plain, odd = np.array([1.0, 2]), np.array([1.0, np.nan])
    assert math.isnan(agreement(plain, odd))
    assert math.isnan(agreement(odd, odd))
    assert agreement(np.array([-np.inf, 2]), np.array([-np.inf, 1])) == 1
    assert [agreement(np.array(3), np.array(3)), agreement(np.array(3), np.array(4))] == [1, 0]


def test_of_several_outputs_the_worst_counts_unless_one_is_named() -> None:
    before = {"a": np.array([1.0, 0]), "b": np.array([1.0, 0])}
    after = {"a": np.array([1.0, 0]), "b": np.array([1.0, 1])}
    assert value_of("cosine", before, after) == pytest.approx(0.5**0.5)
    assert value_of("relative-error", before, after) == 1
    assert value_of("cosine", before, after, "a") == 1
    assert math.isnan(value_of("cosine", before, {**after, "a": np.array([np.nan, 0])}))


def test_top_1_is_of_the_logits_or_the_first_output() -> None:
    yes, no = np.array([0.0, 1]), np.array([1.0, 0])
    assert value_of("top-1", {"x": yes, "logits": yes}, {"x": no, "logits": yes}) == 1
    assert value_of("top-1", {"x": yes, "y": yes}, {"x": no, "y": yes}) == 0


@pytest.mark.parametrize(
    ("after", "output", "told"),
    [
        ({"b": np.ones(2)}, "", "its outputs are 'b', the original's 'a'"),
        ({"a": np.ones(3)}, "", r"output 'a' has the shape \[3\], the original's \[2\]"),
        ({"a": np.ones((1, 2))}, "", r"output 'a' has the shape \[1, 2\], the original's \[2\]"),
        ({"a": np.ones(2)}, "c", "there is no output 'c'; there are 'a'"),
    ],
)
def test_other_outputs_cannot_be_compared(after: dict[str, Any], output: str, told: str) -> None:
    with pytest.raises(DifferentOutputsError, match=told):
        value_of("cosine", {"a": np.ones(2)}, after, output)


@pytest.mark.parametrize(
    ("metric", "shape", "told"),
    [
        ("cosine", (1,), "output 'score' is a single number"),
        ("cosine", (), "output 'score' is a single number"),
        ("top-1", (1,), "output 'score' has nothing to choose from"),
        ("top-1", (7, 1), "output 'score' has nothing to choose from"),
    ],
)
def test_a_metric_that_is_1_for_every_model_is_refused(metric: Metric, shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(DifferentOutputsError, match=told):
        value_of(metric, {"score": np.full(shape, 5.0)}, {"score": np.full(shape, 0.1)})


def test_a_single_number_beside_other_outputs_is_compared_by_its_sign() -> None:
    before, after = {"a": np.ones(2), "loss": np.array(1.0)}, {"a": np.ones(2), "loss": np.array(-1.0)}
    assert value_of("cosine", before, before) == pytest.approx(1)
    assert value_of("cosine", before, after) == -1


@pytest.mark.parametrize("metric", [cosine, relative_error])
def test_nothing_finite_is_like_nothing(metric: Any) -> None:
    broken = np.full(4, np.nan)
    assert math.isnan(metric(broken, broken))


def test_an_output_of_nothing_cannot_be_compared() -> None:
    with pytest.raises(DifferentOutputsError, match="output 'a' is empty"):
        value_of("cosine", {"a": np.ones((0, 3))}, {"a": np.ones((0, 3))})


def test_the_worst_is_the_largest_error_or_the_least_likeness_and_nan_before_all() -> None:
    assert [worst_of("cosine", [0.9, 0.5]), worst_of("top-1", [0.9, 0.5]), worst_of("relative-error", [0.9, 0.5])] == [0.5, 0.5, 0.9]
    assert reduced("cosine", [0.9, 0.5], "mean") == pytest.approx(0.7)
    assert reduced("relative-error", [0.9, 0.5], "worst") == 0.9
    for reduction in ("mean", "worst"):
        assert math.isnan(reduced("cosine", [0.9, math.nan, 0.5], reduction))  # type: ignore[arg-type]
