"""Sorted, disjoint ranges of a file: start (inclusive) and end (exclusive), in bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise, takewhile
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]


def union(ranges: Iterable[Range]) -> list[Range]:
    """Return the bytes that any of the ranges covers."""
    ordered = [pair for pair in ranges if pair[0] < pair[1]]
    if all(one[1] < other[0] for one, other in pairwise(ordered)):
        return ordered
    merged: list[Range] = []
    for start, end in sorted(ordered):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def complement(ranges: Iterable[Range], size: int) -> list[Range]:
    """Return the bytes of a file of `size` bytes that none of the ranges covers."""
    rest: list[Range] = []
    at = 0
    for start, end in union(ranges):
        if at < start:
            rest.append((at, min(start, size)))
        at = max(at, end)
    return union([*rest, (at, size)])


def difference(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """Return the bytes that `ranges` cover and `others` do not."""
    ranges = union(ranges)
    size = ranges[-1][1] if ranges else 0
    return complement([*complement(ranges, size), *others], size)


def within(ranges: Sequence[Range], start: int, end: int) -> list[Range]:
    """Return what ranges (sorted, disjoint) cover of one range; quick where there are many."""
    first = bisect_right(ranges, start, key=lambda pair: pair[1])
    touched = takewhile(lambda pair: pair[0] < end, islice(ranges, first, None))
    return [(max(low, start), min(high, end)) for low, high in touched] if start < end else []
