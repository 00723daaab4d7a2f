"""`[tool.mlbundle.accuracy]`: the samples that lossy steps are measured on, and how far they may lead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, TypeAlias

from .optimizer import SearchBy, option

Metric: TypeAlias = Literal["cosine", "relative-error", "top-1"]
"""How outputs are compared with the original's (accuracy/metrics.py)."""

Reduction: TypeAlias = Literal["mean", "worst"]
"""What of the samples' values counts."""

SUFFIXES = (".npz", ".jsonl")
"""The formats of samples."""

PLACEHOLDERS = ("model", "original", "project", "python")
"""What stands in braces in `command`."""

_BOUNDS: Mapping[Metric, tuple[str, float]] = {
    "cosine": ("at-least", 0.999),
    "relative-error": ("at-most", 0.02),
    "top-1": ("at-least", 0.99),
}
"""Which of the two keys bounds a metric, and what it is where it is not set."""

_RANGES: Mapping[Metric, tuple[float, float]] = {"cosine": (-1, 1), "relative-error": (0, math.inf), "top-1": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class AccuracySettings:
    """How far lossy steps may lead; without `samples` or `command` nothing is measured."""

    samples: str = option(
        "The samples, a file relative to the project: `.npz` (arrays by the input's name, their first axis counts the samples) or `.jsonl` "
        '(one object a line, like `{"text": "..."}`).',
        default="",
    )
    metric: Metric = option(
        "`cosine` is the cosine between a sample's outputs before and after, `relative-error` the norm of their difference as a share of "
        "the norm before, `top-1` the share of equal choices (the largest along the last axis).",
        default="cosine",
    )
    at_least: float | None = option("The bound of `cosine` (unset: 0.999) or `top-1` (unset: 0.99).", default=None)
    at_most: float | None = option("The bound of `relative-error` (unset: 0.02).", default=None)
    reduce: Reduction | None = option(
        "Which value is bounded: the `mean` of the samples' (unset for `cosine` and `top-1`), or that of the `worst` sample (unset for "
        "`relative-error`).",
        default=None,
    )
    output: str = option(
        "The one output that is compared; empty means all, of which the worst counts, and for `top-1` `logits`, else the first.", default=""
    )
    evaluator: str = option("What runs the models, by its name; empty means the first, in the order of names, that can.", default="")
    command: tuple[str, ...] = option(
        "A program of your own that measures instead, with its arguments: it prints a number as its last line, which `at-least` or "
        "`at-most` bounds. `{model}` is the changed model, a file or a folder, `{original}` the one before, `{project}` the project's "
        "folder, `{python}` the Python that mlbundle runs on.",
        default=(),
    )
    timeout: float = option("Seconds that one measurement may take.", default=1800.0)
    search: SearchBy = option(
        "How the smallest setting within the bound is searched for: by `tensor`, with the most harmful ones stored more finely; by "
        "`model`, one setting for all; `off` measures what the step's options say, and keeps the original where that misses the bound.",
        default="tensor",
    )

    @property
    def wanted(self) -> bool:
        """Whether anything is to be measured."""
        return bool(self.samples or self.command)

    @property
    def bound(self) -> tuple[str, float]:
        """The key that bounds what is measured, and the bound."""
        key, value = _BOUNDS[self.metric]
        if self.at_least is not None:
            return "at-least", self.at_least
        return ("at-most", self.at_most) if self.at_most is not None else (key, value)

    @property
    def reduction(self) -> Reduction:
        """What of the samples' values counts."""
        return self.reduce or ("worst" if self.metric == "relative-error" else "mean")

    def keeps(self, value: float) -> bool:
        """Say whether a value is within the bound; what is no number is not."""
        key, bound = self.bound
        return value >= bound if key == "at-least" else value <= bound


def accuracy_faults(settings: AccuracySettings, path: str) -> Iterator[str]:
    """Yield a line for every value that cannot be, with its TOML path below `path`."""
    if not settings.timeout >= 0.1:
        yield f"{path}.timeout: must be 0.1 or more, not {settings.timeout}"
    for key, value in (("at-least", settings.at_least), ("at-most", settings.at_most)):
        if value is not None and not math.isfinite(value):
            yield f"{path}.{key}: must be a finite number, not {value}"
    if settings.command:
        yield from _command_faults(settings, path)
    else:
        yield from _samples_faults(settings, path)


def _command_faults(settings: AccuracySettings, path: str) -> Iterator[str]:
    if (settings.at_least is None) == (settings.at_most is None):
        yield f"{path}: `command` needs one of at-least and at-most, for the number that it prints"
    if not settings.command[0]:
        yield f"{path}.command[0]: must name a program"
    for key in ("samples", "reduce", "output", "evaluator"):
        if getattr(settings, key):
            yield f"{path}.{key}: has no effect beside `command`; take one of them out"
    if not any("{model}" in each for each in settings.command):
        yield f"{path}.command: must name {{model}}, the changed model, among its arguments"
    for position, each in enumerate(settings.command):
        for name in re.findall(r"\{(\w+)\}", each):
            if name not in PLACEHOLDERS:
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                yield f"{path}.command[{position}]: knows no {{{name}}}; there are {known}"


def _samples_faults(settings: AccuracySettings, path: str) -> Iterator[str]:
    key, _ = _BOUNDS[settings.metric]
    other = "at-most" if key == "at-least" else "at-least"
    least, most = _RANGES[settings.metric]
    for name, value in (("at-least", settings.at_least), ("at-most", settings.at_most)):
        if value is not None and name == other:
            yield f"{path}.{name}: does not bound {settings.metric!r}; use {key}"
        elif value is not None and math.isfinite(value) and not least <= value <= most:
            yield f"{path}.{name}: must be {_range(least, most)} for {settings.metric!r}, not {value}"
    if settings.samples and PurePath(settings.samples).suffix not in SUFFIXES:
        yield f"{path}.samples: must be an .npz or a .jsonl file, not {settings.samples!r}"
    if not settings.samples and settings != AccuracySettings():
        yield f"{path}: needs `samples` to measure on, or a `command` that measures"


def _range(least: float, most: float) -> str:
    return f"from {least} to {most}" if math.isfinite(most) else f"{least} or more"
