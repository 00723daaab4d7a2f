"""Find the few changes that break an artifact, in few runs: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", 2002) over changes of unequal suspicion.

To put more back never breaks what works already: that is what the search assumes, and what its last run proves for its result.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

Item = TypeVar("Item")

_MANY = 8
"""Guilty changes after which the search no longer goes for single ones."""


class OutOfRunsError(Exception):
    """The predicate may not be asked any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[Item]):
    """The changes to put back, and whether every one of them is known to be needed."""

    items: tuple[Item, ...]
    exact: bool


def find_guilty(
    items: Sequence[Item],
    works: Callable[[frozenset[Item]], bool],
    suspicion: Callable[[], Mapping[Item, float]],
    kin: Callable[[Item], object],
) -> Found[Item]:
    """Return changes without which the artifact works, as few as can be found.

    `works(put_back)` says whether it works with these changes put back; it does with all of them, and does not with none. It may
    raise OutOfRunsError. `suspicion()` returns a positive weight for each change, by what the last run that failed has shown; `kin` tells
    which changes belong together: where many are guilty, all of their kin go back. Of items equally suspicious the last come first.
    """
    guilty: list[Item] = []
    rest = list(reversed(items))  # what is made of a change goes back with it: of two changes of a file the later one is asked for first
    best = frozenset(items)
    try:
        while True:
            weights = suspicion()
            rest.sort(key=lambda item: -weights[item])
            needed = _first_that_works(rest, frozenset(guilty), works, weights)
            guilty.append(rest[needed - 1])
            best = frozenset([*guilty, *rest[: needed - 1]])
            rest = rest[: needed - 1]
            if not rest or works(frozenset(guilty)):
                return Found(items=tuple(guilty), exact=True)
            if len(guilty) == _MANY:
                return _by_kin(items, guilty, works, best, kin)
    except OutOfRunsError:
        return Found(items=tuple(item for item in items if item in best), exact=False)


def _first_that_works(
    ordered: Sequence[Item], guilty: frozenset[Item], works: Callable[[frozenset[Item]], bool], weights: Mapping[Item, float]
) -> int:
    """Return the least number of items from the front that must be put back, with `guilty`; halves suspicion, not numbers."""
    sums = list(accumulate(weights[item] for item in ordered))
    fails, good = 0, len(ordered)
    while good - fails > 1:
        start = sums[fails - 1] if fails else 0.0
        middle = bisect_left(sums, (start + sums[good - 1]) / 2, fails, good - 1) + 1
        middle = min(max(middle, fails + 1), good - 1)
        if works(guilty | frozenset(ordered[:middle])):
            good = middle
        else:
            fails = middle
    return good


def _by_kin(
    items: Sequence[Item],
    guilty: Sequence[Item],
    works: Callable[[frozenset[Item]], bool],
    best: frozenset[Item],
    kin: Callable[[Item], object],
) -> Found[Item]:
    """Put back all that belongs to the guilty; where that is not enough, all that is known to be."""
    families = {kin(item) for item in guilty}
    family = frozenset(item for item in items if kin(item) in families)
    enough = family if works(family) else best
    return Found(items=tuple(item for item in items if item in enough), exact=False)
