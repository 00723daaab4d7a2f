from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.binaries.ranges import Range, complement, difference, union, within

SIZE = 40
some_ranges = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)), max_size=6)


def covered(ranges: Iterable[Range]) -> set[int]:
    return {at for start, end in ranges for at in range(start, end)}


def is_canonical(ranges: list[Range]) -> bool:
    flat = [at for pair in ranges for at in pair]
    return flat == sorted(set(flat))


@given(some_ranges, some_ranges)
def test_they_are_what_sets_of_bytes_would_be(first: list[Range], second: list[Range]) -> None:
    assert covered(union(first)) == covered(first)
    assert covered(complement(first, SIZE)) == set(range(SIZE)) - covered(first)
    assert covered(difference(first, second)) == covered(first) - covered(second)
    parts = [within(union(first), start, end) for start, end in second]
    assert list(map(covered, parts)) == [covered(first) & covered([pair]) for pair in second]
    results = (union(first), complement(first, SIZE), difference(first, second), *parts)
    assert all(map(is_canonical, results))
