"""Run a command on the untouched artifact and see which of its files it uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.trials.observation import Observation
from hatch_mlbundle.verify_settings import VerifyCommand

from .runner import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a command did, and the paths of the bundle that it was seen to use: none where it could not be watched."""

    observation: Observation
    used: frozenset[str]


def tracer(runner: Runner) -> Callable[[Bundle, VerifyCommand], Traced]:
    return lambda bundle, command: Traced(observation=runner.run(bundle, command), used=frozenset())
