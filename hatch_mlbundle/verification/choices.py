"""What each choice comes to that a person has for an artifact: its sizes, its time and memory, and whether it still works."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from hatch_mlbundle.model import Finding

from .report import Measured

FORMAT = "mlbundle-exploration"
FORMAT_VERSION = "1.0"

Verdict: TypeAlias = Literal["same", "broken", "flaky", "failed", "impossible"]
"""Every command does what it does on the untouched artifact; one does not; one does not do the same twice; the step itself failed, and
was left out; there is no such form of this artifact.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One row: the optimizers that ran, in order, and the form that was made of what they left.

    `form` is "wheel", "folder", "frozen", "one-file" or the format of an archive. `installed` and `compressed` are bytes; of a folder,
    `compressed` is what its files take deflated one by one. `verdict` is None where nothing was run, `problem` says what is wrong, and
    `measured` has the figures of each command, in order, where all of them work. What could not be made has None for its sizes.
    """

    name: str
    optimizers: tuple[str, ...]
    form: str
    installed: int | None = None
    compressed: int | None = None
    sha256: str | None = None
    verdict: Verdict | None = None
    problem: str | None = None
    measured: tuple[Measured, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedCommand:
    """A command that was run; `compared` is how its output was, `exit status` where that differs from run to run."""

    name: str
    arguments: tuple[str, ...]
    compared: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """All choices, the untouched artifact first. `runs` counts every run of a command, `results` the different results run."""

    artifact: str
    kind: str
    sha256: str
    commands: tuple[TriedCommand, ...]
    repeat: int
    runs: int
    results: int
    jail: bool
    choices: tuple[Choice, ...]
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> str:
        """Return the exploration as a document of its own."""
        document: dict[str, Any] = asdict(self)
        artifact = {"name": document.pop("artifact"), "kind": document.pop("kind"), "sha256": document.pop("sha256")}
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, "artifact": artifact, **document}, indent=2) + "\n"
