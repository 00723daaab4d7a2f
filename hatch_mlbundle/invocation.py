"""From a command's parsed options to the job that carries it out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_args

from .adapters.project import FROZEN, WHEEL, Places, find_project, project_config
from .bundles.executable import is_frozen
from .config import ArchiveFormat, Config
from .errors import ArtifactError
from .job import Job, prepare
from .plugins import Registry, load_registry
from .progress import Progress, Silence


def config_of(options: argparse.Namespace, registry: Registry, places: Places = WHEEL) -> Config:
    """Return the project's configuration, with what the command line says laid over it; raises ConfigurationError."""
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
    return project_config(project_of(options), registry, override, places)


def project_of(options: argparse.Namespace) -> Path:
    """Return the project's folder: the one that is named, or the nearest with a pyproject.toml."""
    if options.project:
        return Path(options.project)
    try:
        return find_project(Path.cwd())
    except FileNotFoundError as error:
        raise ArtifactError(".", "the current folder is no longer there; change to another one") from error


@contextmanager
def job_of(options: argparse.Namespace, artifact: Path) -> Iterator[Job]:
    """Give the job for an artifact; its progress is shown until the body ends. Raises MlbundleError."""
    registry = load_registry()
    config = config_of(options, registry, FROZEN if is_frozen(artifact) else WHEEL)
    with _progress(options) as progress:
        yield prepare(config, registry, project=project_of(options), progress=progress)


def _progress(options: argparse.Namespace) -> AbstractContextManager[Progress]:
    if options.quiet or not sys.stderr.isatty():
        return nullcontext(Silence())
    from .reports.progress import terminal_progress

    return terminal_progress()
