"""Run the verify commands on a snapshot, each in an empty folder of its own and in an environment that is always the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from hatch_mlbundle.bundles.atomic_folder import remove_folder
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.runtime.models.places import MODELS
from hatch_mlbundle.storage import storage_errors
from hatch_mlbundle.trials.comparison import difference
from hatch_mlbundle.trials.observation import Observation, observe
from hatch_mlbundle.trials.process import Bounds, Command, Wrap
from hatch_mlbundle.verify_settings import VerifyCommand, VerifySettings

from .image_root import ImageRoot
from .report import Measured
from .subject import Subject

_PASSED = ("PATH", "LANG", "SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "LD_LIBRARY_PATH")
_FIXED = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
"""What decides an output though it is no matter of the artifact; commands may set it otherwise."""

_TEMPORARY = ".tmp"
"""The folder in `{work}` for temporary files, so that they count for what a command writes."""


def title(command: VerifyCommand) -> str:
    """Return what a person calls a command."""
    return command.name or " ".join(command.run)


@dataclass(slots=True, kw_only=True)
class Runner:
    """Runs commands on a subject. `folder` is an empty one; `project` is what relative paths of a project start from.

    `clean_root` makes the jail, with one more folder to write to, where there is to be one. `runs` counts what was run; `disturbed`
    gathers, by command, the files of the bundle that it changed.
    """

    settings: VerifySettings
    subject: Subject
    project: Path
    folder: Path
    clean_root: Callable[[str | None], Wrap] | None = None
    runs: int = 0
    disturbed: dict[str, list[str]] = field(default_factory=dict)

    def run(self, bundle: Bundle, command: VerifyCommand, *, seconds: float | None = None, unpacks: int = 0) -> Observation:
        """Run a command on a snapshot, for `seconds` at most where that is less than its own limit; raises MlbundleError.

        It may write `unpacks` bytes more than others: what the snapshot unpacks when it starts.
        """
        bounds = self._bounds(command)
        if seconds:
            bounds = replace(bounds, seconds=min(bounds.seconds, seconds))
        try:
            return self._run(bundle, command, replace(bounds, written=bounds.written + unpacks), {}, None)
        finally:
            self.tend(command)

    def run_untended(self, bundle: Bundle, command: VerifyCommand, variables: Mapping[str, str], writable: str | None) -> Observation:
        """Run a command with more variables, and one more folder to write to; `tend` is to be called afterwards."""
        return self._run(bundle, command, self._bounds(command), variables, writable)

    def difference(self, before: Observation, after: Observation, command: VerifyCommand) -> str | None:
        """Return what `trials.comparison.difference` says, with placeholders for folders that have another name in every build."""
        problem = difference(before, after, command, folder=self.project) or ""
        inner_first = sorted(self._places.items(), key=lambda place: -len(place[1].parts))
        for name, path in inner_first:
            if path.name:
                problem = problem.replace(str(path), f"{{{name}}}")
        return problem or None

    def forget(self, observation: Observation) -> None:
        """Remove what was kept of a run: outputs may be gigabytes, and runs many."""
        remove_folder(observation.folder)

    def tend(self, command: VerifyCommand) -> None:
        """Undo what a command did to the bundle, and remove its working folder."""
        remove_folder(self.work)
        changed = self.subject.mend()
        if changed and self.subject.root is None:  # a container's root is there to be written to
            self.disturbed.setdefault(title(command), changed)

    def _run(
        self, bundle: Bundle, command: VerifyCommand, bounds: Bounds, variables: Mapping[str, str], writable: str | None
    ) -> Observation:
        self.subject.become(bundle)
        with storage_errors(self.work):
            self._make_work_folder()
        self.runs += 1
        wrap = self.clean_root(writable) if self.clean_root else None
        into = self.folder / f"run-{self.runs}"
        return observe(self._command(command, variables), bounds, into, files=command.files, wrap=wrap)

    def _bounds(self, command: VerifyCommand) -> Bounds:
        settings = self.settings
        return Bounds(seconds=command.timeout or settings.timeout, written=settings.max_written, processes=settings.max_processes)

    @property
    def work(self) -> Path:
        """The folder in which commands run."""
        return self.folder / "work"

    @property
    def _places(self) -> dict[str, Path]:
        return {"project": self.project, "work": self.work, **self.subject.places}

    def _make_work_folder(self) -> None:
        (self.work / _TEMPORARY).mkdir(parents=True)

    def _command(self, command: VerifyCommand, extra: Mapping[str, str]) -> Command:
        places = {name: str(path) for name, path in self._places.items()}
        if self.subject.root:
            return self._command_inside(self.subject.root, command, places)
        named = dict(_filled(each, places).split("=", 1) for each in command.environment)
        homely = {"HOME": str(self.work), "TMPDIR": str(self.work / _TEMPORARY)}
        return Command(
            arguments=tuple(_filled(argument, places) for argument in command.run),
            folder=self.work,
            environment={**self._passed(), **_FIXED, **homely, **self._models(), **named, **extra},
            stdin=command.stdin.encode(),
        )

    def _command_inside(self, root: ImageRoot, command: VerifyCommand, places: Mapping[str, str]) -> Command:
        """Return what runs a command in an image's own root: of this machine's environment it has nothing."""
        named = dict(_filled(each, places).split("=", 1) for each in command.environment)
        arguments = tuple(_filled(argument, places) for argument in command.run)
        models = self.subject.model_folders()
        inner = root.arguments(arguments, {**_FIXED, **named}, work=self.work, project=self.project, models=models)
        return Command(arguments=inner, folder=self.work, environment={}, stdin=command.stdin.encode())

    def _models(self) -> dict[str, str]:
        """Return what tells an application where the models are that left it: nothing is fetched while it is tried."""
        folders = self.subject.model_folders()
        return {MODELS: os.pathsep.join(map(str, folders)), "MLBUNDLE_OFFLINE": "1"} if folders else {}

    def _passed(self) -> dict[str, str]:
        """Return what is passed on of this process's environment; a wheel's console scripts are found by their names."""
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        if self.subject.environment:
            passed["PATH"] = os.pathsep.join([str(self.subject.environment.python.parent), passed.get("PATH", os.defpath)])
        return passed


def _filled(text: str, places: Mapping[str, str]) -> str:
    for name, path in places.items():
        text = text.replace(f"{{{name}}}", path)
    return text


def measured(observations: Sequence[Observation]) -> Measured:
    """Return the medians of some runs, at least one."""
    return Measured(
        runs=len(observations),
        seconds=round(median(each.seconds for each in observations), 4),
        peak_memory=int(median(each.peak_memory for each in observations)),
    )
