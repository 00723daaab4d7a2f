"""The layout of treemaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.reports.squarify import Rectangle, squarify

ROOM = Rectangle(10.0, 20.0, 600.0, 400.0)


def area(each: Rectangle) -> float:
    return each.width * each.height


def overlap(one: Rectangle, other: Rectangle) -> float:
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(across, 0.0) * max(down, 0.0)


def test_the_example_of_the_paper() -> None:
    """Figure 4 there: 6, 6, 4, 3, 2, 2, 1 in a room of 6 by 4."""
    placed = squarify([6, 6, 4, 3, 2, 2, 1], Rectangle(0.0, 0.0, 6.0, 4.0))
    expected = [(0, 0, 3, 2), (0, 2, 3, 2), (3, 0, 12 / 7, 7 / 3), (3 + 12 / 7, 0, 9 / 7, 7 / 3)]
    for each, (x, y, width, height) in zip(placed, expected, strict=False):
        assert [each.x, each.y, each.width, each.height] == pytest.approx([x, y, width, height])


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=60))
def test_areas_are_in_proportion_and_fill_the_room_without_overlap(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    placed = squarify(sizes, ROOM)
    for size, each in zip(sizes, placed, strict=True):
        assert area(each) == pytest.approx(size / sum(sizes) * area(ROOM), rel=1e-6, abs=1e-6)
        assert each.x >= ROOM.x - 1e-6
        assert each.y >= ROOM.y - 1e-6
        assert each.x + each.width <= ROOM.x + ROOM.width + 1e-3
        assert each.y + each.height <= ROOM.y + ROOM.height + 1e-3
    assert math.fsum(overlap(a, b) for number, a in enumerate(placed) for b in placed[number + 1 :]) < 1e-3


def test_parts_are_squarer_than_strips() -> None:
    placed = squarify([100] * 24, ROOM)
    assert max(max(each.width / each.height, each.height / each.width) for each in placed) < 1.6


def test_nothing_and_no_room_are_no_fault() -> None:
    assert squarify([], ROOM) == []
    assert [area(each) for each in squarify([3, 2, 1], Rectangle(0.0, 0.0, 0.0, 5.0))] == [0.0, 0.0, 0.0]
    assert ROOM.inside(900.0) == Rectangle(910.0, 920.0, 0.0, 0.0)
