"""Which functions of a library nothing can reach any more once some pointers to them are null."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .ranges import Range, union
from .x86_64_code import Code
from .x86_64_functions import Functions


def unreachable(functions: Functions, code: Code, pointed: Iterable[int], others: Iterable[int]) -> list[Range]:
    """Return the addresses of code that only the pointers to the addresses `pointed` lead to, directly or through each other.

    `others` are the addresses that are known in any other way: exported, or in data. Every function that `pointed` does not lead to
    counts as reached, whether or not anything is seen that reaches it; and so does each that is not C++, which code that was not decoded
    could name.
    """
    roots = {number for address in others if (number := functions.number_of(address)) is not None}
    candidates = _closure(
        (number for address in pointed if (number := functions.number_of(address)) is not None),
        code,
        lambda number: bool(functions.mangled[number]) and number not in roots,
    )
    outside = (other for number, found in enumerate(code.references) if number not in candidates for other in found)
    reached = _closure(outside, code, candidates.__contains__)
    return union((functions.starts[number], functions.ends[number]) for number in candidates - reached)


def _closure(first: Iterable[int], code: Code, belongs: Callable[[int], bool]) -> set[int]:
    """Return the functions that the first ones lead to, through functions that belong."""
    waiting = [number for number in set(first) if belongs(number)]
    found = set(waiting)
    while waiting:
        for number in code.references[waiting.pop()]:
            if number not in found and belongs(number):
                found.add(number)
                waiting.append(number)
    return found
