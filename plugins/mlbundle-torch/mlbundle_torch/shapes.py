"""The shapes of a model's inputs, as the configuration writes them: `"batch=2|5, 3, 224, 224"`.

A number is an axis of that size; a name is an axis left free. The sizes behind a name are what it is exported and compared with: the
first with the others, which prove that the axis is free indeed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

DEFAULT_SIZES = (2, 1, 5)
"""Of a free axis that names none."""

_FREE = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:\s*=\s*(?P<sizes>\d+(?:\s*\|\s*\d+)*))?")


@dataclass(frozen=True, slots=True)
class FreeAxis:
    """An axis whose size may change from call to call."""

    name: str
    sizes: tuple[int, ...] = DEFAULT_SIZES


Axis: TypeAlias = int | FreeAxis
"""A size, or a free axis."""


def parse_shape(text: str) -> tuple[Axis, ...]:
    """Return the axes of a shape; raises ValueError, whose message is one line."""
    return tuple(_axis(each.strip()) for each in text.split(",")) if text.strip() else ()


def axis_faults(shapes: list[tuple[Axis, ...]]) -> list[str]:
    """Return what does not agree: one name with several lists of sizes. An axis named again without sizes has the first one's."""
    sizes: dict[str, tuple[int, ...]] = {}
    faults = []
    for axis in (axis for shape in shapes for axis in shape if isinstance(axis, FreeAxis)):
        known = sizes.setdefault(axis.name, axis.sizes)
        if axis.sizes not in (known, DEFAULT_SIZES):
            faults.append(f"the axis {axis.name!r} has the sizes {known} and {axis.sizes}")
    return faults


def to_request(shape: tuple[Axis, ...]) -> list[int | dict[str, object]]:
    """Return a shape as the worker reads it (worker/samples.py)."""
    return [axis if isinstance(axis, int) else {"name": axis.name, "sizes": list(axis.sizes)} for axis in shape]


def _axis(text: str) -> Axis:
    if text.isdigit() and int(text) > 0:
        return int(text)
    match = _FREE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no axis; write a size like 3, a name like batch, or a name with sizes like length=16|7|64")
    sizes = tuple(int(size) for size in re.findall(r"\d+", match["sizes"] or ""))
    if 0 in sizes:
        raise ValueError(f"{text!r}: an axis of size 0 holds nothing")
    return FreeAxis(match["name"], sizes or DEFAULT_SIZES)
