"""Squarified treemaps: a rectangle divided among sizes so that the parts are as square as may be.

The algorithm of M. Bruls, K. Huizing and J. J. van Wijk, "Squarified Treemaps", Data Visualization 2000, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle by its upper left corner, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, margin: float, top: float = 0.0) -> Rectangle:
        """Return what is left within a margin on all sides, and `top` more above; never less than nothing."""
        width, height = self.width - 2 * margin, self.height - 2 * margin - top
        return Rectangle(self.x + margin, self.y + margin + top, max(width, 0.0), max(height, 0.0))


def squarify(sizes: Sequence[int], room: Rectangle) -> list[Rectangle]:
    """Return a rectangle for each size, their areas in proportion; the sizes are positive, the largest first."""
    scale = room.width * room.height / sum(sizes) if sizes else 0.0
    areas = [size * scale for size in sizes]
    placed: list[Rectangle] = []
    while len(placed) < len(areas):
        row = _row(areas[len(placed) :], min(room.width, room.height))
        parts, room = _place(row, room)
        placed += parts
    return placed


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """Return the areas, from the first, that make a row along a side, as long as each one more makes it no worse."""
    total, worst = areas[0], _worst(areas[0], areas[0], areas[0], side)
    for count, area in enumerate(areas[1:], 1):
        following = _worst(total + area, areas[0], area, side)
        if following > worst:
            return areas[:count]
        total, worst = total + area, following
    return areas


def _worst(total: float, largest: float, smallest: float, side: float) -> float:
    """Return the highest ratio of long to short side in a row: max(w^2 r+ / s^2, s^2 / (w^2 r-))."""
    square = side * side
    return max(square * largest / (total * total), total * total / (square * smallest)) if side else 0.0


def _place(row: Sequence[float], room: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    """Lay a row along the shorter side; return its rectangles and the room that is left."""
    along = min(room.width, room.height)
    depth = sum(row) / along if along else 0.0
    placed, offset = [], 0.0
    for area in row:
        length = area / depth if depth else 0.0
        if room.width >= room.height:
            placed.append(Rectangle(room.x, room.y + offset, depth, length))
        else:
            placed.append(Rectangle(room.x + offset, room.y, length, depth))
        offset += length
    if room.width >= room.height:
        return placed, Rectangle(room.x + depth, room.y, max(room.width - depth, 0.0), room.height)
    return placed, Rectangle(room.x, room.y + depth, room.width, max(room.height - depth, 0.0))
