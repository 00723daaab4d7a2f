"""Measure a changed model against the original, as `[tool.mlbundle.accuracy]` asks."""

from __future__ import annotations

import errno
import math
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from stat import S_ISDIR
from sys import executable
from typing import TypeAlias

from hatch_mlbundle.accuracy_settings import AccuracySettings
from hatch_mlbundle.canonical import sha256_of_file
from hatch_mlbundle.errors import AccuracyError, ConfigurationError
from hatch_mlbundle.guard import Caution, error_line
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.optimizer import Json, Measured, SearchBy
from hatch_mlbundle.storage import storage_errors

from .evaluator import Evaluator
from .metrics import DifferentOutputsError, reduced, value_of, worst_of
from .outputs import read_outputs
from .running import number_of, outputs_of
from .samples import check_samples
from .stage import is_unfinished

_GLANCE = 60.0
"""Seconds that an evaluator may take to say whether it can run a model."""

_State: TypeAlias = tuple[tuple[str, str, int, int, int], ...]
"""What tells a model from another one without reading it: for each of its files where it really is, and what `stat` says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What is asked of changed models: the settings, the samples and how many there are, and what may run models, in the order of names.

    `identity` is whatever decides the answers beside the models, for cache keys; None where that cannot be told, as with a command
    of the user's. `programs` are the libraries that have a part in it, name to version. `project` is the project's folder.
    """

    settings: AccuracySettings
    evaluators: tuple[Evaluator, ...]
    project: Path
    samples: Path
    count: int
    identity: Json
    programs: Mapping[str, str]


def inquire(settings: AccuracySettings, evaluators: Mapping[str, Evaluator], project: Path, path: str) -> Inquiry:
    """Return what is asked of changed models by settings at this TOML path that want something; `evaluators` are by name.

    Raises AccuracyError where the samples cannot be used, ConfigurationError where there is no such evaluator, MissingLibraryError.
    """
    if settings.command:
        return Inquiry(settings=settings, evaluators=(), project=project, samples=project, count=0, identity=None, programs={})
    if settings.evaluator and settings.evaluator not in evaluators:
        known = ", ".join(sorted(evaluators)) or "none; install a plugin that brings some"
        raise ConfigurationError([f"{path}.evaluator: there is no evaluator {settings.evaluator!r}; there is {known}"])
    names = [settings.evaluator] if settings.evaluator else sorted(evaluators)
    allowed = tuple(evaluators[name] for name in names)
    samples = project / settings.samples
    count = check_samples(samples, settings.samples)
    programs = library_versions("[tool.mlbundle.accuracy]", "numpy")
    for each in allowed:
        programs.update(each.programs())
    asked = [settings.metric, *settings.bound, settings.reduction, settings.output, settings.search]
    identity = [*asked, sha256_of_file(samples), [[each.name, each.version] for each in allowed], programs]
    return Inquiry(
        settings=settings, evaluators=allowed, project=project, samples=samples, count=count, identity=identity, programs=programs
    )


class ModelJudge:
    """Implements optimizer.Judge; `folder` is an empty one for its work. Safe for threads: one model runs at a time."""

    def __init__(self, asked: Inquiry, folder: Path) -> None:
        self._asked = asked
        self._settings = asked.settings
        self._folder = folder
        self._lock = threading.Lock()
        self._baselines: dict[tuple[str, _State], Path] = {}
        self._passed: set[_State] = set()
        self._stopped = False

    @property
    def search(self) -> SearchBy:
        """How the smallest result within the bound is to be searched for."""
        return self._settings.search

    def stop(self) -> None:
        """Measure nothing more: a search that runs on while a build is given up ends with the measurement that it is at."""
        self._stopped = True

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        """Return how `candidate` does, None where nothing that is installed can run such a model; raises AccuracyError."""
        with self._lock, storage_errors(self._folder):
            if self._stopped:
                raise AccuracyError("the build was given up, so that nothing more is measured")
            there = {*_state(original), *_state(candidate)}
            measured = self._measured(original, candidate)
            changed = there - {*_state(original), *_state(candidate)}
            if changed:
                name = min(name or Path(place).name for name, place, *_ in changed).lstrip("/")
                raise AccuracyError(f"{name} was changed while the model was measured; what measures must only read the models' files")
            return measured

    def _measured(self, original: Path, candidate: Path) -> Measured | None:
        if self._settings.command:
            return self._measured_by_command(original, candidate)
        evaluator = self._evaluator_for(original)
        return self._measured_by(evaluator, original, candidate) if evaluator else None

    def _evaluator_for(self, model: Path) -> Evaluator | None:
        for evaluator in self._asked.evaluators:
            try:
                if Caution(evaluator.name, seconds=_GLANCE).call(partial(evaluator.fits, model)):
                    return evaluator
            except Exception as error:
                told = error_line(error)
                raise AccuracyError(
                    f"evaluator {evaluator.name}: failed while it looked at the model ({told}); tell its authors"
                ) from error
        return None

    def _measured_by(self, evaluator: Evaluator, original: Path, candidate: Path) -> Measured:
        settings, count = self._settings, self._asked.count
        before = self._baseline(evaluator, original)
        with self._new_folder() as folder:
            after = outputs_of(evaluator, candidate, self._asked.samples, folder, settings.timeout)
            try:
                pairs = zip(read_outputs(before, count), read_outputs(after, count), strict=True)
                values = [value_of(settings.metric, one, other, settings.output) for one, other in pairs]
            except DifferentOutputsError as error:
                raise AccuracyError(f"the changed model cannot be compared with the original: {error}") from error
        value = reduced(settings.metric, values, settings.reduction)
        worst = worst_of(settings.metric, values)
        return Measured(metric=settings.metric, value=value, keeps=settings.keeps(value), worst=worst)

    def _baseline(self, evaluator: Evaluator, original: Path) -> Path:
        """Return what the original gives; each is run once, by however many steps and threads it is asked for."""
        key = (evaluator.name, _state(original))
        if key not in self._baselines:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            outputs = outputs_of(evaluator, original, self._asked.samples, folder, self._settings.timeout)
            self._check_baseline(outputs)
            self._baselines[key] = outputs
        return self._baselines[key]

    def _check_baseline(self, outputs: Path) -> None:
        """Raise AccuracyError where the original's own outputs cannot be compared with: an error of the samples or of the settings."""
        for number, sample in enumerate(read_outputs(outputs, self._asked.count), 1):
            if not sample:
                raise AccuracyError(f"sample {number}: the evaluator gives no output")
            try:
                value = value_of(self._settings.metric, sample, sample, self._settings.output)
            except DifferentOutputsError as error:
                raise AccuracyError(f"sample {number}: the original cannot be compared with: {error}") from error
            if math.isnan(value):
                raise AccuracyError(f"sample {number}: what the original gives is not finite, so that nothing can be compared with it")

    def _measured_by_command(self, original: Path, candidate: Path) -> Measured:
        """Return what the command says of the candidate; the original itself has to be within the bound, or nothing ever will be."""
        state = _state(original)
        if state not in self._passed:
            value = self._number(original, original)
            if not self._settings.keeps(value):
                key, bound = self._settings.bound
                raise AccuracyError(f"the command gives {value:g} for the original itself, which is not {key} {bound:g}; correct the bound")
            self._passed.add(state)
        value = self._number(original, candidate)
        return Measured(metric="command", value=value, keeps=self._settings.keeps(value))

    def _number(self, original: Path, model: Path) -> float:
        places = {
            "model": str(model.absolute()),
            "original": str(original.absolute()),
            "project": str(self._asked.project.absolute()),
            "python": executable,
        }
        with self._new_folder() as folder:
            return number_of(self._settings.command, places, folder, self._settings.timeout)

    @contextmanager
    def _new_folder(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder
        finally:
            rmtree(folder, ignore_errors=True)


def _state(model: Path) -> _State:
    return tuple(_states(model, "", set()))


def _states(place: Path, name: str, seen: set[Path]) -> Iterator[tuple[str, str, int, int, int]]:
    """Yield what tells the file, or each below the folder, apart; a folder that links lead back to is not entered again."""
    real = Path(os.path.realpath(place))  # Path.resolve raises errors of several kinds for links that lead in a circle
    try:
        status = real.stat()
        names = sorted(os.listdir(real)) if S_ISDIR(status.st_mode) else None  # noqa: PTH208 - names are what is wanted
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # a link to nowhere, or in a circle
            return
        raise
    if name and is_unfinished(place.name):
        return
    if names is None:
        yield name, str(real), status.st_ino, status.st_size, status.st_mtime_ns
    elif real not in seen:
        for each in names:
            yield from _states(place / each, f"{name}/{each}", seen | {real})
