"""Finds the nearest of many vectors, in C that Cython writes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from nearest._search import best


def nearest(vectors: Sequence[Sequence[float]], wanted: Sequence[float]) -> int:
    """Return the position of the vector that points most nearly in the direction of `wanted`."""
    if not wanted or any(len(vector) != len(wanted) for vector in vectors):
        raise ValueError("all vectors must have as many numbers as the wanted one, and at least one")
    return best(array("f", [number for vector in vectors for number in unit(vector)]), array("f", wanted))


def unit(vector: Sequence[float]) -> list[float]:
    """Return the vector at length 1; zeros stay zeros."""
    length = sum(number * number for number in vector) ** 0.5
    return [number / length if length else 0.0 for number in vector]
