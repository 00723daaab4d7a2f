"""How near outputs are."""

from __future__ import annotations

import numpy as np
import pytest
from mlbundle_onnx.comparing import compare

from hatch_mlbundle.errors import UnsoundResultError

A = np.random.default_rng(0).standard_normal((4, 50))


def likeness(before: np.ndarray, after: np.ndarray) -> object:
    return compare([([before], [after])])


def test_the_same_is_exact() -> None:
    for each in (A, np.zeros(3), np.arange(5), np.array([np.inf, np.nan, 1.0]), np.array([True]), np.zeros((0, 3))):
        found = compare([([each], [each.copy()])])
        assert found.is_exact
        assert found.keeps(1.0)


def test_the_worst_output_of_the_worst_run_counts() -> None:
    found = compare([([A, A], [A, A]), ([A, A], [A, A + 0.5])])
    b = A + 0.5
    assert found.cosine == pytest.approx(float((A * b).sum() / np.linalg.norm(A) / np.linalg.norm(b)))
    assert found.relative_error == pytest.approx(0.5 * np.sqrt(A.size) / np.linalg.norm(A))
    assert found.largest_error == pytest.approx(0.5 / np.abs(A).max())
    assert found.equal is None


def test_all_values_doubled_do_not_keep_a_bound_though_the_cosine_does() -> None:
    found = compare([([A], [2 * A])])
    assert found.cosine == pytest.approx(1)
    assert not found.keeps(0.9)
    assert not compare([([np.array([1.0])], [np.array([1.5])])]).keeps(0.9)
    assert compare([([A], [1.001 * A])]).keeps(0.9999)


def test_a_turn_as_large_as_the_bound_is_the_largest() -> None:
    angle = np.arccos(0.99)
    first = np.array([1.0, 0.0])
    for more, keeps in ((-1e-4, True), (1e-4, False)):
        second = np.array([np.cos(angle + more), np.sin(angle + more)])
        assert compare([([first], [second])]).keeps(0.99) == keeps


def test_whole_numbers_count_by_how_many_are_equal() -> None:
    found = compare([([np.arange(10)], [np.where(np.arange(10) == 3, 0, np.arange(10))])])
    assert found.equal == pytest.approx(0.9)
    assert not found.is_exact


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (A, A[:3]),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan])),
        (np.array([np.inf]), np.array([-np.inf])),
        (np.array([np.nan]), np.array([0.0])),
    ],
)
def test_other_shapes_and_lost_numbers_are_unsound(before: np.ndarray, after: np.ndarray) -> None:
    with pytest.raises(UnsoundResultError):
        likeness(before, after)
    with pytest.raises(UnsoundResultError, match="shapes"):
        compare([([A, A], [A])])
