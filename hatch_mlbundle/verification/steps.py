"""The artifact as it is, after every single step, and at the end: does it still work, how large is it, how fast does it start?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, get_args

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.optimizer import Risk
from hatch_mlbundle.pipeline import Done
from hatch_mlbundle.trials.numbers import deviation
from hatch_mlbundle.trials.observation import FILES, Observation
from hatch_mlbundle.verify_settings import VerifyCommand

from .baseline import Expected
from .replay import replay
from .report import AS_IT_IS, IN_ALL, StepResult
from .runner import Runner, measured

_RISKS: tuple[Risk, ...] = get_args(Risk)
"""From least to greatest."""

Runs: TypeAlias = Sequence[Sequence[Observation]]
"""The runs of each command, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The way from the untouched artifact, `before`, to the result, and the runs that both have had already.

    `planned` is what the steps did, `kept` what is left of that after the guilty changes were put back.
    """

    runner: Runner
    before: Bundle
    planned: Sequence[Done]
    kept: Sequence[Done]
    expected: Sequence[Expected]
    first: Runs
    last: Runs

    def results(self) -> Iterator[StepResult]:
        """Yield what the artifact is before any step, after each, those before it included, and in all.

        A step that changed nothing is not run again; its row has the figures of the one before.
        """
        row = first = self._row(self.before, self.first)
        yield first
        changing = [position for position, done in enumerate(self.kept) if _changes(done)]
        for position, (planned, done) in enumerate(zip(self.planned, self.kept, strict=True)):
            if position in changing:
                bundle = replay(self.before, self.kept[: position + 1], ()).bundle
                row = self._row(bundle, self.last if position == changing[-1] else self._run(bundle))
            changes = _changes(done)
            risk = done.stage.optimizer.risk
            yield replace(row, step=done.stage.name, risk=risk, changes=changes, put_back=_changes(planned) - changes)
        yield replace(row, step=IN_ALL, risk=self._risk(), changes=_all_changes(self.kept), put_back=self._put_back())

    def _run(self, bundle: Bundle) -> Runs:
        repeat = self.runner.settings.repeat
        return [[self.runner.run(bundle, each.command) for _ in range(repeat)] for each in self.expected]

    def _row(self, bundle: Bundle, runs: Runs) -> StepResult:
        pairs = [(each, seen[0]) for each, seen in zip(self.expected, runs, strict=True)]
        problems = tuple(self.runner.difference(each.observation, seen, each.command) for each, seen in pairs)
        deviations = (_deviation(each.observation, seen, each.command) for each, seen in pairs)
        return StepResult(
            step=AS_IT_IS,
            installed=self._installed(bundle),
            risk=None,
            measured=tuple(measured(observations) for observations in runs),
            problems=problems,
            deviation=0.0 if any(problems) else max(deviations, default=0.0),
        )

    def _installed(self, bundle: Bundle) -> int:
        """Return the bytes of the artifact's files: of a wheel as they are in it, else as they lie on disk."""
        subject = self.runner.subject
        placed = subject.on_disk(bundle) if subject.environment is None else None
        return (placed or bundle).size

    def _risk(self) -> Risk | None:
        """Return the greatest risk of those steps that something is left of."""
        return max((done.stage.optimizer.risk for done in self.kept if _changes(done)), key=_RISKS.index, default=None)

    def _put_back(self) -> int:
        return _all_changes(self.planned) - _all_changes(self.kept)


def _changes(done: Done) -> int:
    return sum(applied.action != "keep" for applied in done.changes)


def _all_changes(stages: Sequence[Done]) -> int:
    return sum(map(_changes, stages))


def _deviation(before: Observation, after: Observation, command: VerifyCommand) -> float:
    """Return the largest share by which a number differs, in the output or a file written, where numbers are what is compared."""
    if command.output != "numeric" or command.comparator:
        return 0.0
    texts = [(before.stdout, after.stdout)] if before.output != after.output else []
    changed = [name for name, state in before.files.items() if after.files.get(name) not in (None, state)]
    texts += [(before.folder / FILES / name, after.folder / FILES / name) for name in changed]
    return max((_deviation_of_texts(old, new) for old, new in texts), default=0.0)


def _deviation_of_texts(before: Path, after: Path) -> float:
    with before.open(encoding="utf-8", errors="replace") as old, after.open(encoding="utf-8", errors="replace") as new:
        return deviation(old, new)
