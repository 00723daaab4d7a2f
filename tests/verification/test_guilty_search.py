from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.verification.search import OutOfRunsError, find_guilty


class Oracle:
    """Works when each of the guilty is put back; counts how often it was asked."""

    def __init__(self, guilty: set[int], most: int = 10_000) -> None:
        self.guilty, self.most, self.asked = guilty, most, 0

    def __call__(self, put_back: frozenset[int]) -> bool:
        if self.asked == self.most:
            raise OutOfRunsError
        self.asked += 1
        return self.guilty <= put_back


def search(count: int, oracle: Oracle, weights: dict[int, float] | None = None, size: int = 10) -> tuple[set[int], bool]:
    by_item = dict.fromkeys(range(count), 1.0) | (weights or {})
    found = find_guilty(range(count), oracle, lambda: by_item, lambda item: item // size)
    return set(found.items), found.exact


@given(st.integers(1, 300), st.data())
def test_it_finds_just_the_guilty(count: int, data: st.DataObject) -> None:
    guilty = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=4))
    oracle = Oracle(guilty)
    assert search(count, oracle) == (guilty, True)
    assert oracle.asked <= len(guilty) * (math.ceil(math.log2(count)) + 2)


def test_one_of_four_thousand_takes_thirteen_runs() -> None:
    oracle = Oracle({2_345})
    assert search(4_096, oracle) == ({2_345}, True)
    assert oracle.asked <= 13


def test_a_strong_suspicion_takes_one_run() -> None:
    oracle = Oracle({2_345})
    assert search(4_096, oracle, {2_345: 5_000.0}) == ({2_345}, True)
    assert oracle.asked == 1


def test_a_wrong_suspicion_costs_few_runs_more() -> None:
    oracle = Oracle({2_345})
    assert search(4_096, oracle, {7: 5_000.0}) == ({2_345}, True)
    assert oracle.asked <= 14


def test_suspicion_is_asked_for_anew_after_each_find() -> None:
    oracle, asked = Oracle({3, 900}), []

    def suspicion() -> dict[int, float]:
        asked.append(oracle.asked)
        return {item: 2_000.0 if item == (900 if len(asked) == 1 else 3) else 1.0 for item in range(1_000)}

    found = find_guilty(range(1_000), oracle, suspicion, lambda item: item)
    assert set(found.items) == {3, 900}
    assert len(asked) == 2


def test_where_many_are_guilty_their_kin_goes_back_with_them() -> None:
    oracle = Oracle(set(range(40, 60)))
    found, exact = search(1_000, oracle, size=20)
    assert found == set(range(40, 60))
    assert not exact
    assert oracle.asked < 120


def test_out_of_runs_all_that_is_known_to_help_goes_back() -> None:
    found, exact = search(1_000, Oracle({5, 700}, most=3))
    assert {5, 700} <= found
    assert not exact


def test_what_is_guilty_in_scattered_places_goes_back_whole() -> None:
    guilty = set(range(0, 1_000, 50))
    found, exact = search(1_000, Oracle(guilty), size=1)
    assert guilty <= found
    assert not exact
