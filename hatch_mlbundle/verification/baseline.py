"""What the untouched artifact does: what the result is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hatch_mlbundle.errors import VerificationError
from hatch_mlbundle.model import Bundle, Finding
from hatch_mlbundle.trials.observation import Observation
from hatch_mlbundle.verify_settings import VerifyCommand

from .runner import Runner, title
from .traced import Traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a command does on the untouched artifact; `used` are the bundle's paths that it was seen to use.

    A command whose output differs from run to run has `command.output` "ignore", and is no longer compared by anything else than its
    exit status.
    """

    command: VerifyCommand
    observation: Observation
    used: frozenset[str]
    is_flaky: bool = False

    @property
    def compared(self) -> str:
        """How it is compared, in a word or two."""
        return "exit status" if self.is_flaky else "comparator" if self.command.comparator else self.command.output


Tracer = Callable[[Bundle, VerifyCommand], Traced]
"""Runs a command on a bundle and tells what it used of it."""


def take_baseline(runner: Runner, bundle: Bundle, trace: Tracer) -> tuple[list[Expected], list[Finding]]:
    """Run every command twice on the untouched artifact, once as it is and once watched.

    Raises VerificationError where one fails there.
    """
    expected, findings = [], []
    for command in runner.settings.commands:
        first = runner.run(bundle, command)
        _check(runner, command, first)
        watched = trace(bundle, command)
        _check(runner, command, watched.observation)
        known = Expected(command=command, observation=first, used=watched.used)
        if problem := runner.difference(first, watched.observation, command):
            findings.append(flaky(command, problem))
            known = by_status_alone(known)
        expected.append(known)
    return expected, findings


def by_status_alone(expected: Expected) -> Expected:
    """Return the same with nothing but the exit status to be compared."""
    command = replace(expected.command, output="ignore", comparator=(), files=())
    return replace(expected, command=command, is_flaky=True)


def flaky(command: VerifyCommand, problem: str) -> Finding:
    """Return the finding about a command that does not do the same twice."""
    advice = "compare it by `numeric` with tolerances, by a `comparator`, or not at all with `ignore`; only its exit status counted"
    return Finding(code="MB603", message=f"{title(command)!r} differs from one run to the next without any change ({problem}); {advice}")


def _check(runner: Runner, command: VerifyCommand, observation: Observation) -> None:
    as_wanted = replace(observation, status=command.exit_code, overrun=None)
    problem = runner.difference(as_wanted, observation, replace(command, comparator=()))
    if problem:
        advice = "mend the application or the command; nothing was optimized"
        raise VerificationError(f"verify: {title(command)!r} fails on the untouched artifact: it {problem}; {advice}")
