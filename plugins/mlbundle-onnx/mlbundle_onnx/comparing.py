"""How near the outputs of two models are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hatch_mlbundle.errors import UnsoundResultError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Likeness:
    """The worst over all outputs: the cosine of the angle between them, taken as vectors; the norm of their difference relative to the
    norm of the first; the largest difference relative to the largest value; and the part of whole numbers or truth values that are equal,
    None where there are none."""

    cosine: float
    relative_error: float
    largest_error: float
    equal: float | None

    @property
    def is_exact(self) -> bool:
        """Whether nothing differs."""
        return self.relative_error == 0 and self.equal in (None, 1.0)

    def keeps(self, least: float) -> bool:
        """Say whether the cosine is at least that, and the relative error no larger than what turns a vector by so much.

        The cosine alone would not see all values doubled, or a single number changed.
        """
        return self.cosine >= least and self.relative_error <= math.sqrt(max(0.0, 2 - 2 * least))


def load_outputs(path: Path) -> list[Array]:
    """Return the arrays that isolated.py wrote, in order."""
    with np.load(path) as arrays:
        return [arrays[f"arr_{position}"] for position in range(len(arrays.files))]


def is_telling(outputs: Sequence[Array]) -> bool:
    """Say whether the cosine of such outputs says something: whether there is a finite floating-point number among them."""
    return any(each.dtype.kind == "f" and np.isfinite(each).any() for each in outputs)


def compare(pairs: Iterable[tuple[Sequence[Array], Sequence[Array]]]) -> Likeness:
    """Return how alike the outputs are, before and after, of some runs; raises UnsoundResultError where their number or shapes differ."""
    cosines, norms, errors, equal = [1.0], [0.0], [0.0], []
    for before, after in pairs:
        if [each.shape for each in before] != [each.shape for each in after]:
            raise UnsoundResultError("its outputs have other shapes than the original's")
        for first, second in zip(before, after, strict=True):
            if first.size and first.dtype.kind == "f":
                old, new = _finite(first, second)
                cosines.append(_cosine(old, new))
                norms.append(_relative(np.linalg.norm(old - new), np.linalg.norm(old)))
                errors.append(_relative(np.abs(old - new).max(initial=0.0), np.abs(old).max(initial=0.0)))
            elif first.size:
                equal.append(float(np.mean(first == second)))
    return Likeness(min(cosines), max(norms), max(errors), min(equal, default=None))


def _cosine(before: Array, after: Array) -> float:
    size = np.linalg.norm(before) * np.linalg.norm(after)
    if size == 0:
        return 1.0 if np.array_equal(before, after) else 0.0
    return float(np.clip(before @ after / size, -1.0, 1.0))


def _relative(difference: Any, size: Any) -> float:
    return float(difference / size) if size else float(difference)


def _finite(first: Array, second: Array) -> tuple[Array, Array]:
    """Return both as float64 vectors without what is the same non-finite value in both."""
    before, after = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    finite = np.isfinite(before) & np.isfinite(after)
    same = finite | (before == after) | (np.isnan(before) & np.isnan(after))
    if not same.all():
        raise UnsoundResultError("its outputs are not finite where the original's are, or the other way round")
    return before[finite], after[finite]
