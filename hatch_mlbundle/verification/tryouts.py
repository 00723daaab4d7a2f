"""Run the commands on many results in turn: which of them work, how long do they take, how much memory?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hatch_mlbundle.bundles.folder import tree_digest
from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.model import Bundle, Finding
from hatch_mlbundle.progress import Progress
from hatch_mlbundle.trials.observation import Observation
from hatch_mlbundle.verify_settings import VerifyCommand

from .baseline import Expected, take_baseline
from .choices import TriedCommand, Verdict
from .report import Measured
from .runner import Runner, measured, title
from .traced import Traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A result as it lies on disk, and the bytes that it unpacks whenever it starts."""

    bundle: Bundle
    unpacks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of the commands on one result; `problem` names the first that behaves otherwise, and then nothing is measured."""

    verdict: Verdict
    problem: str | None = None
    measured: tuple[Measured, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A result that is being tried: the runs of each command so far, and what was otherwise in two of one, or in one that was ended."""

    laid: Laid
    runs: list[list[Observation]]
    problem: str | None = None
    is_flaky: bool = False


@dataclass(slots=True, kw_only=True)
class Tryouts:
    """Compares results with the untouched artifact, where `expected` is what the commands do; each runs `repeat` times on each result.

    `results` is the number of different ones that were run.
    """

    runner: Runner
    repeat: int
    progress: Progress
    expected: tuple[Expected, ...]
    findings: tuple[Finding, ...]
    results: int = 0

    @classmethod
    def start(cls, runner: Runner, before: Bundle, repeat: int, progress: Progress) -> Tryouts:
        """Run every command twice on the untouched artifact; raises VerificationError where one fails there."""

        def unwatched(bundle: Bundle, command: VerifyCommand) -> Traced:
            return Traced(observation=runner.run(bundle, command), used=frozenset())

        expected, findings = take_baseline(runner, before, unwatched)
        return cls(runner=runner, repeat=repeat, progress=progress, expected=tuple(expected), findings=tuple(findings))

    def commands(self) -> tuple[TriedCommand, ...]:
        """Return the commands, and how they were compared."""
        return tuple(TriedCommand(name=title(each.command), arguments=each.command.run, compared=each.compared) for each in self.expected)

    def run(self, results: Sequence[Laid]) -> list[Tried]:
        """Return what comes of the commands on each result; equal ones are run once. Raises StorageError.

        All are run once, then all another time: what slows the machine for a while slows them all. Those that unpack themselves come
        last, because the disk is busy with what they wrote for some time afterwards.
        """
        digests = [tree_digest(laid.bundle) for laid in results]
        attempts = {digest: _Attempt(laid=laid, runs=[[] for _ in self.expected]) for digest, laid in zip(digests, results, strict=True)}
        self.results = len(attempts)
        self._run_in_turn([attempt for attempt in attempts.values() if not attempt.laid.unpacks])
        self._run_in_turn([attempt for attempt in attempts.values() if attempt.laid.unpacks])
        tried = {digest: self._judge(attempt) for digest, attempt in attempts.items()}
        return [tried[digest] for digest in digests]

    def _run_in_turn(self, attempts: Sequence[_Attempt]) -> None:
        """Run rounds that each begin with another result: none is always the first."""
        for number in range(self.repeat):
            self.progress.start(f"exploring: run {number + 1} of {self.repeat}", len(attempts))
            first = number * len(attempts) // self.repeat
            for attempt in (*attempts[first:], *attempts[:first]):
                self._run_once(attempt)
                self.progress.advance()

    def _run_once(self, attempt: _Attempt) -> None:
        for expected, runs in zip(self.expected, attempt.runs, strict=True):
            if attempt.problem:
                return
            observation, problem = self._look(attempt, expected)
            if problem and observation and not observation.overrun:  # perhaps it is its nature to do something else at times
                attempt.is_flaky = True
                observation, problem = self._look(attempt, expected)
            if problem:
                attempt.problem = f"{title(expected.command)!r} {problem}"
            elif observation:
                runs.append(observation)

    def _look(self, attempt: _Attempt, expected: Expected) -> tuple[Observation | None, str | None]:
        """Run a command, and return what it did, None where it could not be started, and what of that is otherwise."""
        try:
            observation = self.runner.run(attempt.laid.bundle, expected.command, unpacks=attempt.laid.unpacks)
        except TrialError as error:
            return None, f"cannot be run: {error}"
        problem = self.runner.difference(expected.observation, observation, expected.command)
        self.runner.forget(observation)
        return observation, problem

    def _judge(self, attempt: _Attempt) -> Tried:
        if attempt.problem:
            return Tried(verdict="broken", problem=attempt.problem)
        is_flaky = attempt.is_flaky or any(each.is_flaky for each in self.expected)
        return Tried(verdict="flaky" if is_flaky else "same", measured=tuple(map(measured, attempt.runs)))
