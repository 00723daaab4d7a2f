"""Find the smallest setting that keeps the bound of accuracy: one for all tensors, or with the fewest tensors stored more finely.

All go on what `attempt` measures. The last attempt need not be the chosen one: whoever overwrites makes the chosen one again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hatch_mlbundle.optimizer import Json, Measured, SearchBy

_DIGITS = 6
"""Significant digits of a measured value in the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attempt: the setting, the bytes of the model so made, and how it does, None where nothing can run such a model."""

    setting: str
    size: int
    measured: Measured | None

    @property
    def keeps(self) -> bool:
        """Whether it was measured to be within the bound."""
        return self.measured is not None and self.measured.keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A setting for the whole model, but that the `promoted` most harmful tensors take the next finer one."""

    setting: str
    promoted: int = 0


def smallest_within(
    settings: Sequence[str], count: int, attempt: Callable[[Choice], Trial], by: SearchBy
) -> tuple[Choice | None, list[Trial]]:
    """Return the smallest choice that keeps the bound, None where none does, and all trials; `settings` go from the smallest result up.

    By model, it is the first setting that keeps the bound; by tensor, the setting before that with the fewest of `count` tensors
    promoted to it, where that keeps the bound. With the search off, only the first setting is tried. It takes at most one attempt a
    setting, and log2(count) more (rounded up).
    """
    allowed = settings[:1] if by == "off" else settings
    setting, trials = first_within(allowed, lambda each: attempt(Choice(setting=each)))
    if setting is None or setting == settings[0] or by != "tensor":
        return (None if setting is None else Choice(setting=setting)), trials
    coarser = settings[settings.index(setting) - 1]
    promoted, more = _bisect(count, lambda number: attempt(Choice(setting=coarser, promoted=number)))
    trials += more
    return (Choice(setting=coarser, promoted=promoted) if promoted < count else Choice(setting=setting)), trials


def first_within(settings: Iterable[str], attempt: Callable[[str], Trial]) -> tuple[str | None, list[Trial]]:
    """Return the first setting that keeps the bound, None where none does, and all trials; `settings` go from the smallest result up.

    It ends at the first trial that nothing can measure, without a choice (`unmeasured`).
    """
    trials: list[Trial] = []
    for setting in settings:
        trials.append(attempt(setting))
        if trials[-1].keeps:
            return setting, trials
        if unmeasured(trials):
            break
    return None, trials


def _bisect(count: int, attempt: Callable[[int], Trial]) -> tuple[int, list[Trial]]:
    """Return how few promotions do, and the trials, where none is known not to do and all `count` are known to do.

    Harm is taken to fall with each promotion; whatever it does, fewer than `count` were tried and kept the bound.
    """
    trials: list[Trial] = []
    fails, keeps = 0, count
    while keeps - fails > 1:
        middle = (fails + keeps) // 2
        trials.append(attempt(middle))
        fails, keeps = (fails, middle) if trials[-1].keeps else (middle, keeps)
    return keeps, trials


def unmeasured(trials: Sequence[Trial]) -> bool:
    """Say whether a search ended because nothing that is installed can run the model."""
    return bool(trials) and trials[-1].measured is None


def trial_rows(trials: Iterable[Trial]) -> list[dict[str, Json]]:
    """Return the trials as rows for a Detail, under its key `search`: of those that keep the bound, the smallest was chosen.

    `value` and `worst` have 6 significant digits; they are None where an output was no number, or nothing was measured.
    """
    return [
        {
            "setting": trial.setting,
            "size": trial.size,
            "metric": trial.measured.metric if trial.measured else None,
            "value": _rounded(trial.measured.value) if trial.measured else None,
            "worst": _rounded(trial.measured.worst) if trial.measured else None,
            "keeps": trial.keeps,
        }
        for trial in trials
    ]


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if value is not None and math.isfinite(value) else None
