"""How far a model's outputs are from the original's, as one number a sample.

With a and b the outputs before and after, as vectors of all their elements in float64: `cosine` is a.b / (|a| |b|), `relative-error`
|a - b| / |a| (the Euclidean norm), `top-1` the share of positions at which the largest element along the last axis is the same one. Of
several outputs of a sample the worst counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from hatch_mlbundle.accuracy_settings import Metric, Reduction

from .evaluator import Array, Outputs


class DifferentOutputsError(ValueError):
    """Outputs that cannot be compared: others, of another shape, or of one on which the metric is the same whatever they hold."""


def value_of(metric: Metric, before: Outputs, after: Outputs, output: str = "") -> float:
    """Return a metric for one sample: of the outputs that count (`output`, else all, for top-1 the first), the worst.

    It is NaN where an output is not finite though the original's is there, or the other way round, and where none of the original's is.
    Raises DifferentOutputsError.
    """
    if before.keys() != after.keys():
        raise DifferentOutputsError(f"its outputs are {_list(after)}, the original's {_list(before)}")
    if output and output not in before:
        raise DifferentOutputsError(f"there is no output {output!r}; there are {_list(before)}")
    names = [output] if output else list(before)
    if metric == "top-1" and not output:
        names = ["logits"] if "logits" in before else names[:1]
    _check_tells(metric, before, names)
    values = [_compared(metric, before[name], after[name], name) for name in names]
    return worst_of(metric, values)


def reduced(metric: Metric, values: Sequence[float], reduction: Reduction) -> float:
    """Return the mean of the samples' values, or the worst of them; at least one value. NaN stays NaN."""
    return math.fsum(values) / len(values) if reduction == "mean" else worst_of(metric, values)


def worst_of(metric: Metric, values: Iterable[float]) -> float:
    """Return the value that is furthest from the original's; NaN is further than any."""
    listed = list(values)
    if any(math.isnan(value) for value in listed):
        return math.nan
    return max(listed) if metric == "relative-error" else min(listed)


def _check_tells(metric: Metric, before: Outputs, names: Sequence[str]) -> None:
    """Raise DifferentOutputsError where the metric would be 1 for all models: a cosine of single numbers, the largest of one."""
    if metric == "cosine" and all(before[name].size == 1 for name in names):
        raise DifferentOutputsError(f"output {names[0]!r} is a single number, which has no direction; use metric 'relative-error'")
    if metric == "top-1" and before[names[0]].shape[-1:] == (1,):
        raise DifferentOutputsError(
            f"output {names[0]!r} has nothing to choose from, its last axis is 1 long; use another metric or `output`"
        )


def _compared(metric: Metric, before: Array, after: Array, name: str) -> float:
    if before.shape != after.shape:
        raise DifferentOutputsError(f"output {name!r} has the shape {list(after.shape)}, the original's {list(before.shape)}")
    if before.size == 0:
        raise DifferentOutputsError(f"output {name!r} is empty")
    return _METRICS[metric](before, after)


def cosine(before: Array, after: Array) -> float:
    """Return the cosine between two arrays of one shape: 1 where both are zero, 0 where one is."""
    import numpy as np

    finite = _finite(before, after)
    if finite is None:
        return math.nan
    a, b = _scaled(finite[0]), _scaled(finite[1])
    norms = float(np.sqrt(a.dot(a)) * np.sqrt(b.dot(b)))
    if norms == 0:
        return float(not a.any() and not b.any())
    return max(-1.0, min(1.0, float(a.dot(b)) / norms))


def relative_error(before: Array, after: Array) -> float:
    """Return the norm of the difference as a share of the norm before: infinity where that is zero and the difference is not."""
    import numpy as np

    finite = _finite(before, after)
    if finite is None:
        return math.nan
    a, b = finite
    scale = max(float(np.abs(a).max()), float(np.abs(b).max())) or 1.0
    difference = float(np.linalg.norm(a / scale - b / scale))
    norm = float(np.linalg.norm(a / scale))
    return difference / norm if norm else (math.inf if difference else 0.0)


def agreement(before: Array, after: Array) -> float:
    """Return at which share of positions the largest element along the last axis is the same one, the first of equal ones."""
    import numpy as np

    if np.isnan(before).any() or np.isnan(after).any():
        return math.nan
    if before.ndim == 0:
        return float(before == after)
    return float(np.mean(before.argmax(axis=-1) == after.argmax(axis=-1)))


def _finite(before: Array, after: Array) -> tuple[Array, Array] | None:
    """Return the elements that are finite, as float64 vectors; None where there are none, or others differ: a mask of -inf is the same."""
    import numpy as np

    a, b = (np.ravel(array).astype(np.float64) for array in (before, after))
    finite = np.isfinite(a)
    if not finite.any() or not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b[finite]).all():
        return None
    return a[finite], b[finite]


def _scaled(vector: Array) -> Array:
    """Return a vector whose norm can be squared without overflow."""
    import numpy as np

    largest = float(np.abs(vector).max())
    return vector / largest if largest else vector


def _list(outputs: Outputs) -> str:
    return ", ".join(map(repr, outputs)) or "none"


_METRICS: Mapping[Metric, Callable[[Array, Array], float]] = {
    "cosine": cosine,
    "relative-error": relative_error,
    "top-1": agreement,
}
