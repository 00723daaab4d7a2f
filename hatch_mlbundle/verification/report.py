"""What verification found and measured, as it is written beside the manifest: times differ from run to run, and have no place in that."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hatch_mlbundle.decode import decode, foreign_version
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.optimizer import Risk

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


AS_IT_IS = "as it is"
IN_ALL = "in all"
"""What the first and the last row of steps are called, which are no steps' names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The artifact before any step (AS_IT_IS), after one and those before it, or in the end (IN_ALL).

    `installed` are bytes; `risk` is the optimizer's, in all the greatest of those that changed something; `changes` is how many were
    made and stayed, `put_back` how many did not. Each command has its place in `measured` and in `problems` (None: it behaves as
    before); `deviation` is the largest share by which a number differs that is compared within tolerances.
    """

    step: str
    installed: int
    risk: Risk | None
    measured: tuple[Measured, ...]
    problems: tuple[str | None, ...]
    deviation: float
    changes: int = 0
    put_back: int = 0

    @property
    def is_broken(self) -> bool:
        """Whether a command behaves otherwise after the step, or nothing is left of the step because of that."""
        return any(self.problems) or (self.put_back > 0 and self.changes == 0 and self.step != IN_ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The whole report. `runs` counts every run of a command; `steps` are there where each step was to be verified: as it is, after
    each, in all.
    """

    commands: tuple[CommandRow, ...]
    reverted: tuple[RevertedRow, ...]
    runs: int
    jail: bool
    steps: tuple[StepResult, ...] = ()

    def to_json(self, artifact: str, sha256: str) -> str:
        """Return the report on an artifact, by its file name and SHA-256."""
        document: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "artifact": {"name": artifact, "sha256": sha256}}
        return json.dumps({**document, **asdict(self)}, indent=2) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Artifact:
    name: str
    sha256: str


def load_verification(path: Path, sha256: str | None) -> Verification | None:
    """Return the report in a file, None where it is on another artifact than that with this SHA-256; raises ManifestError."""
    try:
        document = json.loads(path.read_bytes(), parse_constant=_no_number)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: is no JSON ({error}); verify the artifact anew") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(f'{path}: is no report of a verification (it lacks "format": "{FORMAT}")')
    if problem := foreign_version(document, FORMAT_VERSION):
        raise ManifestError(f"{path}: {problem}")
    artifact = decode(_Artifact, document.get("artifact"), f"{path}: artifact")
    verification = decode(Verification, document, str(path))
    return verification if artifact.sha256 == sha256 else None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")
