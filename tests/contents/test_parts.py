from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.contents.inspector import OTHER, Extent
from hatch_mlbundle.contents.parts import MOST_PARTS, coalesced, completed, condensed, measured, name_in_file, without_overlaps
from hatch_mlbundle.errors import MlbundleError

SIZE = 60
EXTENTS = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE), st.sampled_from("abc")).map(
        lambda each: Extent(min(each[:2]), max(each[:2]), each[2])
    )
)


@given(EXTENTS)
def test_each_byte_is_counted_once_with_the_first_that_has_it(extents: list[Extent]) -> None:
    first: list[str] = [OTHER] * SIZE
    for extent in without_overlaps(extents, SIZE):
        assert set(first[extent.start : extent.end]) == {OTHER}
        first[extent.start : extent.end] = [extent.name] * (extent.end - extent.start)
    for at, name in enumerate(first):
        having = {each.name for each in extents if each.start <= at < each.end}
        assert name in (having or {OTHER})
    covered = [any(start <= at < end for start, end, _ in extents) for at in range(SIZE)]
    assert [name != OTHER for name in first] == covered
    whole = completed(measured(extents, SIZE), SIZE, OTHER)
    assert sum(whole.values()) == SIZE
    assert {name: size for name, size in whole.items() if size} == {name: first.count(name) for name in set(first)}


@given(EXTENTS)
def test_the_order_in_which_they_come_means_nothing(extents: list[Extent]) -> None:
    assert list(without_overlaps(extents, SIZE)) == list(without_overlaps(reversed(extents), SIZE))
    assert coalesced(extents) == coalesced(reversed(extents))


@given(EXTENTS)
def test_coalesced_extents_measure_the_same(extents: list[Extent]) -> None:
    apart = list(without_overlaps(extents, SIZE))
    joined = coalesced(apart)
    assert measured(joined, SIZE) == measured(apart, SIZE)
    assert all(one.name != other.name or one.end < other.start for one, other in pairwise(joined))


@pytest.mark.parametrize("extent", [Extent(0, SIZE + 1, "a"), Extent(-1, 3, "a"), Extent(5, 4, "a"), Extent(2**60, 2**60 + 1, "a")])
def test_what_lies_outside_the_file_is_refused(extent: Extent) -> None:
    with pytest.raises(MlbundleError, match="lies outside the file of 60 bytes"):
        measured([extent], SIZE)


@given(st.dictionaries(st.text(max_size=70), st.integers(1, 10**6)), st.integers(1, 1000))
def test_condensed_parts_have_the_same_sum_and_can_be_printed(parts: dict[str, int], least: int) -> None:
    found = condensed(parts, least)
    assert sum(found.values()) == sum(parts.values())
    assert list(found) == sorted(found, key=lambda name: (-found[name], name))
    assert all(name.isascii() and name.isprintable() and 0 < len(name) <= 60 for name in found)
    assert all(name == OTHER or size == parts[name] for name, size in found.items())


def test_of_many_parts_the_largest_are_told() -> None:
    found = condensed({f"s{number:03}": number + 1 for number in range(200)})
    assert list(found)[:2] == [OTHER, "s199"]
    assert len(found) == MOST_PARTS + 1


@pytest.mark.parametrize("name", ["", "(headers)", "(other)", "(", "a\nb", "\x1b[31m", "\u202egpj", "\udcff", "a" * 61, "\u00e9"])
def test_a_name_that_no_report_could_print_or_that_is_like_ours_is_other(name: str) -> None:
    assert name_in_file(name) == OTHER
