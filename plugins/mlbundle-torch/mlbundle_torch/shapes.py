"""The shapes of a model's inputs, as the configuration writes them: `"batch=2|5, 3, 224, 224"`.

A number is an axis of that size; a name is an axis left free. The sizes behind a name are what it is exported and compared with: the
first with the others, which prove that the axis is free indeed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_FREE = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:\s*=\s*(?P<sizes>\d+(?:\s*\|\s*\d+)*))?")


@dataclass(frozen=True, slots=True)
class FreeAxis:
    """An axis whose size may change from call to call; `sizes` are those given for it."""

    name: str
    sizes: tuple[int, ...] = ()


Axis: TypeAlias = int | FreeAxis
"""A size, or a free axis."""


def parse_shape(text: str) -> tuple[Axis, ...]:
    """Return the axes of a shape; raises ValueError, whose message is one line."""
    return tuple(_axis(each.strip()) for each in text.split(",")) if text.strip() else ()


def axis_faults(shapes: Sequence[tuple[Axis, ...]]) -> list[str]:
    """Return what does not agree: one name with several lists of sizes."""
    given = [axis for axis in _free(shapes) if axis.sizes]
    first = {axis.name: axis.sizes for axis in reversed(given)}
    return [f"the axis {axis.name!r} has the sizes {first[axis.name]} and {axis.sizes}" for axis in given if axis.sizes != first[axis.name]]


def to_requests(shapes: Sequence[tuple[Axis, ...]]) -> list[list[int | dict[str, object]]]:
    """Return the shapes of all inputs as the worker reads them (worker/samples.py).

    An axis without sizes has those given where it is named elsewhere, or its own default: no two are alike, or they might be taken for one.
    """
    given = {axis.name: axis.sizes for axis in _free(shapes) if axis.sizes}
    names = list(dict.fromkeys(axis.name for axis in _free(shapes)))
    sizes = {name: given.get(name, (2 + place, 1, 5 + 2 * place)) for place, name in enumerate(names)}
    return [[axis if isinstance(axis, int) else {"name": axis.name, "sizes": list(sizes[axis.name])} for axis in shape] for shape in shapes]


def _free(shapes: Iterable[tuple[Axis, ...]]) -> Iterator[FreeAxis]:
    return (axis for shape in shapes for axis in shape if isinstance(axis, FreeAxis))


def _axis(text: str) -> Axis:
    if text.isdigit() and int(text) > 0:
        return int(text)
    match = _FREE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no axis; write a size like 3, a name like batch, or a name with sizes like length=16|7|64")
    sizes = tuple(int(size) for size in re.findall(r"\d+", match["sizes"] or ""))
    if 0 in sizes:
        raise ValueError(f"{text!r}: an axis of size 0 holds nothing")
    return FreeAxis(match["name"], sizes)
