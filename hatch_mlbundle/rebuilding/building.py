"""Build a copy of a project as its own back end does it (PEP 517, by the library build), or its frozen target (by hatchling)."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from hatch_mlbundle.errors import MissingLibraryError
from hatch_mlbundle.printable import printable
from hatch_mlbundle.trials.process import Bounds, Command, Ended, run

from .project_copy import Sources, copy_sources
from .surroundings import Surroundings

Target: TypeAlias = Literal["sdist", "wheel", "frozen"]
"""What a project can be built to."""

_WRITTEN = 10**12
_COMMON = ("TIP ", "ERROR Backend subprocess exited")
"""Beginnings of lines by which the library build ends, whatever went wrong."""
_TIMES = ".mlbundle-verification.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build left in `folder`, where it ran, and when it began, in seconds since 1970; `fault` says why it failed, if it did."""

    folder: Path
    surroundings: Surroundings
    project: Path
    began: float
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """What is built of a project. `isolated` builds install what they need, each in an environment of its own."""

    sources: Sources
    targets: tuple[Target, ...]
    isolated: bool
    seconds: float

    def check(self) -> None:
        """Raise MissingLibraryError where the library that builds is not installed."""
        spec = find_spec("build")
        if any(target != "frozen" for target in self.targets) and (spec is None or spec.origin is None):
            raise MissingLibraryError("a rebuild needs the library build: pip install 'hatch-mlbundle[rebuild]'")

    def build(self, where: Surroundings) -> Built:
        """Copy the project into the surroundings and build it there."""
        began = time.time()
        moment = began - where.age
        project = copy_sources(self.sources, where.folder, umask=where.umask, moment=moment, backwards=where.backwards)
        out = where.folder.with_name("out")
        out.mkdir(mode=0o755)
        fault = None
        for number, (arguments, folder) in enumerate(self._commands(project, out)):
            command = Command(arguments=tuple(where.wrapped(arguments)), folder=folder, environment=where.variables)
            log = where.folder.with_name(f"log-{number}")
            ended = run(command, Bounds(seconds=self.seconds, written=_WRITTEN, processes=100_000), log)
            fault = fault or _fault(ended)
        return Built(folder=out, surroundings=where, project=project, began=began, fault=fault)

    def _commands(self, project: Path, out: Path) -> list[tuple[list[str], Path]]:
        """Return each command with the folder to run it in: not the project's, whose modules would hide those of the library build."""
        commands = []
        archives = [f"--{target}" for target in self.targets if target != "frozen"]
        if archives:
            isolation = [] if self.isolated else ["--no-isolation"]
            commands.append(([sys.executable, "-m", "build", *archives, *isolation, "--outdir", str(out), str(project)], out))
        if "frozen" in self.targets:
            commands.append(([sys.executable, "-m", "hatchling", "build", "-t", "frozen", "-d", str(out)], project))
        return commands


def _fault(ended: Ended) -> str | None:
    """Return the line that says why a build failed, None where it did not."""
    if ended.overrun:
        return ended.overrun
    if ended.status == 0:
        return None
    return printable(next(filter(None, map(_complaint, (ended.stderr, ended.stdout))), f"exit status {ended.status}"))


def _complaint(output: Path) -> str | None:
    """Return the line of a build's output that says what went wrong: an error of the library build itself, else the last one."""
    lines = [line.strip() for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_COMMON)]
    for number, line in enumerate(told):
        if line.startswith("ERROR "):
            return " ".join(told[number : number + 2]).removeprefix("ERROR ")
    return told[-1] if told else None


def artifacts_in(folder: Path) -> list[Path]:
    """Return what a build left: wheels, sdists, folders, archives and manifests; what tells of times and memory is left out."""
    return sorted(path for path in folder.iterdir() if not path.name.endswith(_TIMES))
