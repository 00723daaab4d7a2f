"""Run the commands on one result after another, each different one once: does it work, how long does it take, how much memory?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hatch_mlbundle.bundles.folder import tree_digest
from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.model import Bundle, Finding
from hatch_mlbundle.schema import Size
from hatch_mlbundle.trials.observation import Observation
from hatch_mlbundle.verify_settings import VerifyCommand

from .baseline import Expected, by_status_alone, flaky, take_baseline
from .choices import TriedCommand, Verdict
from .report import Measured, measured
from .runner import Runner, title
from .traced import Traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of the commands on one result; `problem` names the first that behaves otherwise, and then nothing is measured."""

    verdict: Verdict
    problem: str | None = None
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The runs of one command on one result, and what each that went wrong did otherwise."""

    observations: tuple[Observation, ...]
    problems: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Tryouts:
    """Compares results with the untouched artifact, where `expected` is what the commands do; each command runs `repeat` times.

    Bundles are given as they lie on disk.
    """

    runner: Runner
    repeat: int
    expected: list[Expected]
    findings: list[Finding]
    _tried: dict[str, Tried] = field(default_factory=dict)

    @classmethod
    def start(cls, runner: Runner, before: Bundle, repeat: int) -> Tryouts:
        """Run every command on the untouched artifact, twice at least; raises VerificationError where one fails there."""
        seconds: list[Observation] = []

        def again(bundle: Bundle, command: VerifyCommand) -> Traced:
            seconds.append(runner.run(bundle, command))
            return Traced(observation=seconds[-1], used=frozenset())

        expected, findings = take_baseline(runner, before, again)
        tryouts = cls(runner=runner, repeat=repeat, expected=expected, findings=findings)
        figures = [
            measured([expected[position].observation, second, *tryouts._more(before, position)]) for position, second in enumerate(seconds)
        ]
        tryouts._tried[tree_digest(before)] = Tried(verdict=tryouts._verdict_where_well(), measured=tuple(figures))
        return tryouts

    @property
    def results(self) -> int:
        """The number of different results that were run, the untouched artifact among them."""
        return len(self._tried)

    def commands(self) -> tuple[TriedCommand, ...]:
        """Return the commands, and how they were compared."""
        return tuple(TriedCommand(name=title(each.command), arguments=each.command.run, compared=each.compared) for each in self.expected)

    def run(self, bundle: Bundle, unpacked: int = 0) -> Tried:
        """Return what comes of the commands on a result, which unpacks so many bytes when it starts; raises StorageError."""
        key = tree_digest(bundle)
        if key not in self._tried:
            settings = self.runner.settings
            self.runner.settings = replace(settings, max_written=Size(settings.max_written + unpacked))
            try:
                self._tried[key] = self._try(bundle)
            finally:
                self.runner.settings = settings
        return self._tried[key]

    def _try(self, bundle: Bundle) -> Tried:
        verdict, figures = self._verdict_where_well(), []
        for expected in self.expected:
            try:
                seen = self._look(bundle, expected)
            except TrialError as error:
                return Tried(verdict="broken", problem=str(error))
            if len(seen.problems) > 1 or (seen.problems and seen.observations[-1].overrun):
                return Tried(verdict="broken", problem=f"{title(expected.command)!r} {seen.problems[0]}")
            verdict = "flaky" if seen.problems else verdict
            figures.append(measured(seen.observations))
        return Tried(verdict=verdict, measured=tuple(figures))

    def _look(self, bundle: Bundle, expected: Expected) -> _Seen:
        """Run a command as often as wanted, and once more where it did something else the first time: that may be its nature."""
        observations: list[Observation] = []
        problems: list[str] = []
        while len(observations) < max(self.repeat, 2 if problems else 1):
            observations.append(self.runner.run(bundle, expected.command))
            if problem := self._difference(expected, observations[-1]):
                problems.append(problem)
                if len(problems) > 1 or observations[-1].overrun:
                    break
        return _Seen(observations=tuple(observations), problems=tuple(problems))

    def _more(self, before: Bundle, position: int) -> Sequence[Observation]:
        """Run a command on the untouched artifact as often as is wanted beyond twice."""
        more = []
        for _ in range(self.repeat - 2):
            expected = self.expected[position]
            more.append(self.runner.run(before, expected.command))
            if problem := self._difference(expected, more[-1]):
                self.findings.append(flaky(expected.command, problem))
                self.expected[position] = by_status_alone(expected)
        return more

    def _difference(self, expected: Expected, observation: Observation) -> str | None:
        return self.runner.difference(expected.observation, observation, expected.command)

    def _verdict_where_well(self) -> Verdict:
        return "flaky" if any(each.is_flaky for each in self.expected) else "same"
