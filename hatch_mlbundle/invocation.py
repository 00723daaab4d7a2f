"""From a command's parsed options to the job that carries it out."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from .adapters.project import FROZEN, WHEEL, Places, find_project, project_config, project_settings
from .budget_settings import BudgetSettings
from .config import ArchiveFormat, Config, Settings
from .errors import ArtifactError, ConfigurationError, StorageError
from .printable import printable
from .progress import Progress, Silence

if TYPE_CHECKING:
    from .job import Job
    from .plugins import Registry


def config_of(options: argparse.Namespace, registry: Registry, places: Places = WHEEL) -> Config:
    """Return the project's configuration, with what the command line says laid over it; raises ConfigurationError."""
    return project_config(project_of(options), registry, _override(options), places)


def settings_of(options: argparse.Namespace, places: Places = WHEEL) -> Settings:
    """Return the settings of `config_of`, for what runs no optimizer; raises ConfigurationError for the same faults.

    The optimizers, which cost more time than a folder of many thousand files, are looked up only where the project configures some.
    """
    settings = project_settings(project_of(options), _override(options), places)
    if settings is None:
        from .plugins import load_registry

        return config_of(options, load_registry(), places).settings
    return settings


def places_for(artifact: Path) -> Places:
    """Return where the configuration of an artifact may stand beside [tool.mlbundle]; raises ArtifactError for what can be no path."""
    check_path(artifact)
    if artifact.suffix == ".whl" and not artifact.is_dir():
        return WHEEL
    from .bundles.executable import is_frozen

    return FROZEN if is_frozen(artifact) else WHEEL


def check_path(artifact: Path) -> None:
    """Raise ArtifactError for what can be no path of anything; what is not there may have been moved aside."""
    try:
        artifact.stat()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise ArtifactError(str(artifact), f"cannot be read: {error.strerror}") from error


def project_of(options: argparse.Namespace) -> Path:
    """Return the project's folder: the one that is named, or the nearest with a pyproject.toml.

    Raises ConfigurationError where the named one is none: without its limits, everything would be allowed.
    """
    if options.project:
        check_path(Path(options.project))
        if not (folder := Path(options.project)).is_dir():
            raise ConfigurationError([f"--project: {printable(str(folder))}: is no folder; name the one with the pyproject.toml"])
        return folder
    try:
        return find_project(Path.cwd())
    except FileNotFoundError as error:
        raise ArtifactError(".", "the current folder is no longer there; change to another one") from error


def check_apart(output: Path, artifact: Path) -> None:
    """Raise ArtifactError where a report would be written over the artifact or into it, StorageError where there is no such folder."""
    target, source = real_path(output), real_path(artifact)
    if target.is_relative_to(source):
        raise ArtifactError(str(output), f"is {artifact.name} or lies in it, which stays as it is; choose another place")
    if os.path.isdir(target):  # noqa: PTH112 - unlike Path.is_dir, it stands names that are too long
        raise ArtifactError(str(output), "is a folder; name a file")
    if not target.parent.is_dir():
        raise StorageError(f"cannot write {printable(str(output))}: there is no such folder; create it first")


def real_path(path: Path) -> Path:
    """Return a path without links; unlike `Path.resolve`, also of links that lead back to themselves."""
    return Path(os.path.realpath(path))


@contextmanager
def job_of(options: argparse.Namespace, artifact: Path) -> Iterator[Job]:
    """Give the job for an artifact; its progress is shown until the body ends. Raises MlbundleError."""
    from .plugins import load_registry

    registry = load_registry()
    with _prepared(options, registry, config_of(options, registry, places_for(artifact))) as job:
        yield job


@contextmanager
def reading_job(options: argparse.Namespace, artifact: Path) -> Iterator[Job]:
    """Give the job that only looks at an artifact: no program, library or file need be there that steps, archives or budgets go by."""
    from .plugins import load_registry

    registry = load_registry()
    config = config_of(options, registry, places_for(artifact))
    settings = replace(config.settings, archive=(), budget=BudgetSettings())
    with _prepared(options, registry, Config(settings=settings, steps=(), options=config.options)) as job:
        yield job


@contextmanager
def _prepared(options: argparse.Namespace, registry: Registry, config: Config) -> Iterator[Job]:
    from .job import prepare

    with progress_of(options) as progress:
        yield prepare(config, registry, project=project_of(options), progress=progress)


def _override(options: argparse.Namespace) -> dict[str, Any]:
    override: dict[str, Any] = {}
    for name in ("optimizers", "workers"):
        if getattr(options, name, None) is not None:
            override[name] = getattr(options, name)
    if getattr(options, "no_cache", False):
        override["cache"] = {"enabled": False}
    if getattr(options, "no_verify", False):
        override["verify"] = {}
    if getattr(options, "no_budget", False):
        override["budget"] = {"enabled": False}
    if getattr(options, "archives", False):
        override["archive"] = list(get_args(ArchiveFormat))
    if getattr(options, "strict", False):
        override["strict"] = True
    return override


def progress_of(options: argparse.Namespace) -> AbstractContextManager[Progress]:
    """Return what shows progress until the context ends: nothing where nobody sees it."""
    if options.quiet or not sys.stderr.isatty():
        return nullcontext(Silence())
    from .reports.progress import terminal_progress

    return terminal_progress()
