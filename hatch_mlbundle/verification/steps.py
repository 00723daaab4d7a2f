"""The artifact after every single step: does it still work, how large is it, how fast does it start?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.pipeline import Done
from hatch_mlbundle.trials.comparison import difference
from hatch_mlbundle.trials.numbers import deviation
from hatch_mlbundle.trials.observation import Observation

from .baseline import Expected
from .replay import replay
from .report import StepResult, measured
from .runner import Runner


def results_of_steps(runner: Runner, before: Bundle, stages: Sequence[Done], expected: Sequence[Expected]) -> Iterator[StepResult]:
    """Yield what each step that changed something led to, the steps before it included."""
    for count, done in enumerate(stages, 1):
        if all(applied.action == "keep" for applied in done.changes):
            continue
        bundle = replay(before, stages[:count], ()).bundle
        runs = [[runner.run(bundle, each.command) for _ in range(runner.settings.repeat)] for each in expected]
        pairs = [(each, seen[0]) for each, seen in zip(expected, runs, strict=True)]
        yield StepResult(
            step=done.stage.name,
            installed=bundle.size,
            risk=done.stage.optimizer.risk,
            measured=tuple(measured(observations) for observations in runs),
            problems=tuple(difference(each.observation, seen, each.command, folder=runner.project) for each, seen in pairs),
            deviation=max((_deviation(each.observation, seen) for each, seen in pairs), default=0.0),
        )


def _deviation(before: Observation, after: Observation) -> float:
    if before.output == after.output:
        return 0.0
    with before.stdout.open(encoding="utf-8", errors="replace") as old, after.stdout.open(encoding="utf-8", errors="replace") as new:
        return deviation(old, new)
