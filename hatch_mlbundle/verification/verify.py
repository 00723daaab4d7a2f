"""Verify one artifact from its first run to the report: `start` before anything is changed, `judge` when everything is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hatch_mlbundle.errors import VerificationError
from hatch_mlbundle.model import Bundle, Finding
from hatch_mlbundle.pipeline import Outcome
from hatch_mlbundle.progress import Progress
from hatch_mlbundle.trials.observation import Observation

from .baseline import Expected, Tracer, take_baseline
from .judged import Judged
from .replay import Site, replay
from .report import CommandRow, Measured, RevertedRow, StepResult, Verification
from .runner import Runner, measured, title
from .search import Found
from .steps import Walk
from .verdict import Court

_REFUSED = 'verify: the result behaves otherwise than the artifact; exclude these files from the steps (on-failure = "error")'

_SHOWN = 3
"""Files that a finding names where many were put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifying:
    """An artifact whose untouched form is known to work: `expected` is what its commands do there."""

    runner: Runner
    progress: Progress
    before: Bundle
    expected: tuple[Expected, ...]
    findings: tuple[Finding, ...]

    @classmethod
    def start(cls, runner: Runner, before: Bundle, trace: Tracer, progress: Progress) -> Verifying:
        """Run the commands on the untouched artifact; raises VerificationError where one fails there."""
        progress.start("verifying: as it is", 0)
        expected, findings = take_baseline(runner, before, trace)
        return cls(runner=runner, progress=progress, before=before, expected=tuple(expected), findings=tuple(findings))

    def judge(self, outcome: Outcome) -> Judged:
        """Return the outcome without what makes a command behave otherwise; raises VerificationError where that is not wanted."""
        self.runner.subject.learn(outcome.stages)
        court = Court(runner=self.runner, before=self.before, stages=outcome.stages, expected=list(self.expected))
        guilty = self._guilty(court)
        reverted = list(_reverted(court, outcome, guilty)) if guilty else []
        exact = guilty is None or guilty.exact
        if reverted and self.runner.settings.on_failure == "error":
            raise VerificationError("\n".join([*_accusations(reverted, exact=exact), _REFUSED]))
        findings = list(_findings(reverted, exact=exact))
        reasons = {site: f"put back: {row.problem}" for site, row in zip(guilty.items if guilty else (), reverted, strict=True)}
        replayed = replay(self.before, outcome.stages, reasons)
        told = (*outcome.findings, *self.findings, *court.findings, *findings)
        kept = replace(outcome, bundle=replayed.bundle, stages=replayed.stages, findings=told)
        observed = court.observed(frozenset(reasons))
        report = self._report(court, outcome, kept, tuple(reverted), observed)
        return Judged(outcome=replace(kept, findings=(*told, *disturbances(self.runner))), report=report)

    def _guilty(self, court: Court) -> Found[Site] | None:
        self.progress.start("verifying: the result", 0)
        if court.first_look() is None:
            return None
        self.progress.start("verifying: looking for what broke it", 0)
        return court.find()

    def _report(
        self, court: Court, planned: Outcome, kept: Outcome, reverted: tuple[RevertedRow, ...], observed: Sequence[Observation]
    ) -> Verification:
        expected = court.expected
        first = [[each.observation, *self._repeated(self.before, each)] for each in expected]
        last = [[seen, *self._repeated(kept.bundle, each)] for seen, each in zip(observed, expected, strict=True)]
        rows = [self._row(each, measured(before), measured(after)) for each, before, after in zip(expected, first, last, strict=True)]
        steps: tuple[StepResult, ...] = ()
        if self.runner.settings.each_step:
            self.progress.start("verifying: each step", 0)
            walk = Walk(
                runner=self.runner,
                before=self.before,
                planned=planned.stages,
                kept=kept.stages,
                expected=expected,
                first=first,
                last=last,
            )
            steps = tuple(walk.results())
        jail = self.runner.clean_root is not None
        return Verification(commands=tuple(rows), reverted=reverted, runs=self.runner.runs, jail=jail, steps=steps)

    def _repeated(self, bundle: Bundle, expected: Expected) -> list[Observation]:
        return [self.runner.run(bundle, expected.command) for _ in range(self.runner.settings.repeat - 1)]

    def _row(self, expected: Expected, before: Measured, after: Measured) -> CommandRow:
        command = expected.command
        return CommandRow(name=title(command), arguments=command.run, compared=expected.compared, before=before, after=after)


def disturbances(runner: Runner) -> Iterator[Finding]:
    """Yield a finding for each command that wrote into the bundle."""
    for name, paths in runner.disturbed.items():
        message = (
            f"{name!r} writes into the bundle ({_some(paths)}), where an installed application mostly may not; each run found it whole"
        )
        yield Finding(code="MB604", message=message)


def _reverted(court: Court, outcome: Outcome, guilty: Found[Site]) -> Iterator[RevertedRow]:
    for site in guilty.items:
        yield RevertedRow(step=outcome.stages[site.step].stage.name, path=site.path, problem=court.problem_of(site))


def _findings(reverted: Iterable[RevertedRow], *, exact: bool) -> Iterator[Finding]:
    """Yield a finding for each change put back, or, where they could not be told from others beside them, one for each step."""
    if exact:
        for row in reverted:
            yield Finding(code="MB601", optimizer=row.step, path=row.path, message=f"was put back: with the change, {row.problem}")
        return
    for step, rows in _by_step(reverted).items():
        which = f"{len(rows):,} changes were put back together" if len(rows) > 1 else "one change was put back with others"
        message = f"{which} ({_some([row.path for row in rows])}): with them, {rows[0].problem}"
        yield Finding(code="MB602", optimizer=step, message=message)


def _accusations(reverted: Sequence[RevertedRow], *, exact: bool) -> Iterator[str]:
    """Yield a line for each change that breaks what was verified, or for each step with such, where they cannot be told apart."""
    if exact:
        yield from (f"{row.step}: {row.path}: with the change, {row.problem}" for row in reverted)
        return
    for step, rows in _by_step(reverted).items():
        yield f"{step}: {len(rows):,} changes ({_some([row.path for row in rows])}): with them, {rows[0].problem}"


def _by_step(reverted: Iterable[RevertedRow]) -> dict[str, list[RevertedRow]]:
    by_step: dict[str, list[RevertedRow]] = {}
    for row in reverted:
        by_step.setdefault(row.step, []).append(row)
    return by_step


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
