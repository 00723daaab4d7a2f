"""What the map is computed with, by itself: the layout, and globs."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.reports.html.mapreader import Page, PageFor, area, layers, overlap


def test_globs(page_for: PageFor) -> None:
    page = page_for(layers())
    for pattern, text, expected in [
        ("*.so", "a/b.so", True),
        ("*.so", "a/b.so.1", False),
        ("?.so", "b.so", True),
        ("?.so", "bb.so", False),
        ("a*c*e", "abcde", True),
        ("a*c*e", "abcd", False),
        ("*", "", True),
        ("a.c", "abc", False),
        ("ab*ba", "aba", False),
        ("*?b*", "ab", True),
        ("*?b*", "b", False),
        ("*b?*", "ab", False),
        ("**.so", "a.so", True),
        ("*a" * 40 + "b", "a" * 300, False),
    ]:
        assert page.evaluate("([pattern, text]) => MLB.finder.glob(pattern)(text)", [pattern, text]) is expected, pattern


def squarified(page: Page, values: list[float], width: float, height: float) -> list[dict[str, float]]:
    area = {"x": 5, "y": 7, "width": width, "height": height}
    return page.evaluate("([values, area]) => MLB.layout.squarify(values, area)", [values, area])  # type: ignore[no-any-return]


def test_squarified_areas_are_in_proportion_within_and_apart(page_for: PageFor) -> None:
    page = page_for(layers())
    randomly = random.Random(20)
    for count in (1, 2, 7, 60):
        values = sorted((randomly.paretovariate(0.8) for _ in range(count)), reverse=True)
        width, height = randomly.uniform(50, 1500), randomly.uniform(50, 900)
        found = squarified(page, values, width, height)
        for value, rectangle in zip(values, found, strict=True):
            assert area(rectangle) == pytest.approx(width * height * value / sum(values), rel=1e-6)
            assert rectangle["x"] >= 5 - 1e-6
            assert rectangle["x"] + rectangle["width"] <= 5 + width + 1e-6
            assert rectangle["y"] + rectangle["height"] <= 7 + height + 1e-6
        assert sum(overlap(one, other) for one, other in itertools.combinations(found, 2)) < 1e-6


def test_squarified_as_in_the_paper(page_for: PageFor) -> None:
    """Bruls, Huizing, van Wijk 2000, figures 3 and 4: 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4."""
    found = squarified(page_for(layers()), [6, 6, 4, 3, 2, 2, 1], 6, 4)
    shapes = [(round(each["width"], 2), round(each["height"], 2)) for each in found]
    assert shapes[:5] == [(3, 2), (3, 2), (1.71, 2.33), (1.29, 2.33), (1.2, 1.67)]


def test_nothing_to_squarify(page_for: PageFor) -> None:
    page = page_for(layers())
    assert squarified(page, [], 10, 10) == []
    assert [area(each) for each in squarified(page, [0, 0], 10, 10)] == [0, 0]


def test_a_large_box_does_not_go_for_a_single_small_one(page_for: PageFor) -> None:
    page = page_for(layers())
    values = [65_200_000, 40_900_000, 100_000]
    script = "values => MLB.layout.divide(values.map((value) => ({ node: {}, value })), { x: 0, y: 0, width: 350, height: 558 })"
    assert [box["value"] for box in page.evaluate(script, values)] == values
    assert [box["value"] for box in page.evaluate(script, [*values, 90_000])] == [*values[:2], 190_000]


def test_boxes_too_small_to_see_are_one(page_for: PageFor) -> None:
    page = page_for(layers())
    found = page.evaluate(
        """() => {
          const small = Array.from({ length: 50 }, (_, at) => ({ node: at + 2, value: 1 }));
          return MLB.layout.divide([{ node: 1, value: 1e6 }, ...small], { x: 0, y: 0, width: 100, height: 100 });
        }"""
    )
    assert [(each["node"], each.get("count")) for each in found] == [(1, None), (None, 50)]
    assert sum(each["value"] for each in found) == 1e6 + 50
