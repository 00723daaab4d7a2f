"""What verification found and measured, as it is written beside the manifest: times differ from run to run, and have no place in that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from hatch_mlbundle.trials.observation import Observation

FORMAT = "mlbundle-verification"
FORMAT_VERSION = "1.0"

SUFFIX = ".mlbundle-verification.json"
"""What is appended to an artifact's file name to name its report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Medians of `runs` runs: seconds from start to exit, and bytes of the largest process."""

    runs: int
    seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """A command on the artifact before and after; `compared` is how outputs were compared, `exit status` where they were flaky."""

    name: str
    arguments: tuple[str, ...]
    compared: str
    before: Measured
    after: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertedRow:
    """A change that was put back: the step that made it, the file, and what went wrong with it."""

    step: str
    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The artifact after a step: bytes installed; for each command what was measured, and what was otherwise (None: nothing);
    `deviation` is the largest share by which a number of an output differs."""

    step: str
    installed: int
    risk: str
    measured: tuple[Measured, ...]
    problems: tuple[str | None, ...]
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The whole report. `runs` counts every run of a command; `steps` are there where each step was to be verified."""

    commands: tuple[CommandRow, ...]
    reverted: tuple[RevertedRow, ...]
    runs: int
    jail: bool
    steps: tuple[StepResult, ...] = ()

    def to_json(self, artifact: str, sha256: str) -> str:
        """Return the report on an artifact, by its file name and SHA-256."""
        document: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "artifact": {"name": artifact, "sha256": sha256}}
        return json.dumps({**document, **asdict(self)}, indent=2) + "\n"


def measured(observations: Sequence[Observation]) -> Measured:
    """Return the medians of some runs, at least one."""
    return Measured(
        runs=len(observations),
        seconds=round(median(each.seconds for each in observations), 4),
        peak_memory=int(median(each.peak_memory for each in observations)),
    )
