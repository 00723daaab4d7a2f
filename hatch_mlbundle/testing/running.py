"""Run one optimizer through the pipeline, as a build does it, and show what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from hatch_mlbundle import application
from hatch_mlbundle.applied import Applied
from hatch_mlbundle.bundles.wheel import REQUIRED
from hatch_mlbundle.bundles.wheel_artifact import wheel_refusal
from hatch_mlbundle.cache import Cache
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Bundle, Change, File, Finding, MemoryContent
from hatch_mlbundle.optimizer import ArtifactKind, Optimizer, Options
from hatch_mlbundle.pipeline import Services
from hatch_mlbundle.pipeline import run as run_pipeline
from hatch_mlbundle.plugins import OURS, Registered, Registry
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.sandbox import Rules
from hatch_mlbundle.session import open_session
from hatch_mlbundle.testing.given import Files, bundle_from
from hatch_mlbundle.testing.watching import Misdeed, Watch, watched
from hatch_mlbundle.workspace import temporary_workspace

Source: TypeAlias = Bundle | Files | Path
"""What is to be made small: a bundle, files for one, or a wheel or a folder on disk."""

Table: TypeAlias = Mapping[str, object]
"""An optimizer's options, as they would stand in TOML."""

_CACHE_SIZE = 10**9
_SACRED = tuple(f".dist-info/{name}" for name in REQUIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What an optimizer did to a bundle.

    `options` is what was made of the table; `plan` are the changes that it asked for, in its order, granted or not; `changes` what became
    of each file that one was about. `companions` are the files that lie beside the artifact, by name. `misdeeds` are what a build would
    have told as a finding or not noticed: errors that are no MlbundleError, and writing to the files it was given.
    """

    options: Options
    before: Bundle
    after: Bundle
    plan: tuple[Change, ...]
    changes: tuple[Applied, ...]
    findings: tuple[Finding, ...]
    companions: Mapping[str, bytes]
    misdeeds: tuple[Misdeed, ...]

    @property
    def files(self) -> dict[str, bytes]:
        """The bytes of each file afterwards, by path; a link has none."""
        return {path: file.read() for path, file in self.after.items()}

    @property
    def saved(self) -> int:
        """Bytes, as installed, that the bundle is smaller by."""
        return self.before.size - self.after.size

    @property
    def changed(self) -> dict[str, str]:
        """The reason of each change that was made, by path."""
        return {each.path: each.reason for each in self.changes if each.action != "keep"}

    @property
    def kept(self) -> dict[str, str]:
        """Why each file was left as it was that the optimizer said something of, by path."""
        return {each.path: each.reason for each in self.changes if each.action == "keep"}

    @property
    def codes(self) -> list[str]:
        """The codes of the findings."""
        return [finding.code for finding in self.findings]


def run(
    optimizer: type[Optimizer[Any]],
    files: Source,
    options: Table | None = None,
    *,
    artifact: ArtifactKind | None = None,
    project: Path | None = None,
    workers: int = 2,
    cache: Path | None = None,
) -> Run:
    """Let the pipeline run an optimizer over `files`, and return what it did; nothing on disk is changed.

    `options` are written as in TOML. `artifact` is what the bundle is taken for, by default a folder where the optimizer is for these;
    what lies on disk is what it is. Paths in the options start from `project`, by default the current folder. Results are kept in
    the folder `cache` and taken from there, where there is one. Raises MlbundleError as a build does: for options that are none.
    """
    watch = Watch()
    job = _job(watched(optimizer, watch), options or {}, project, workers)
    kept = Cache(cache, _CACHE_SIZE) if cache else None
    with _opened(job, files, artifact or default_artifact(optimizer), kept) as (before, services):
        stages = job.stages_for(services.kind)
        if not stages:
            raise ValueError(
                f"{optimizer.__name__} does not run: it is for {', '.join(optimizer.artifacts)}, and this is a {services.kind}"
            )
        outcome = run_pipeline(before, stages, services)
        loaded = _Loaded()
        return Run(
            options=stages[0].optimizer.options,
            before=loaded.bundle(before),
            after=loaded.bundle(outcome.bundle),
            plan=tuple(watch.plan),
            changes=tuple(loaded.applied(each) for done in outcome.stages for each in done.changes),
            findings=outcome.findings,
            companions={name: path.read_bytes() for name, path in services.workspace.found_companions()},
            misdeeds=tuple(watch.misdeeds),
        )


def optimize(
    optimizer: type[Optimizer[Any]], path: Path, options: Table | None = None, *, project: Path | None = None, cache: Path | None = None
) -> Manifest:
    """Make the wheel or folder at `path` small by one optimizer, in its place, and return its manifest, which lies beside it.

    Raises MlbundleError as a build does.
    """
    settings = {"cache": {"folder": str(cache)} if cache else {"enabled": False}}
    return application.optimize(_job(optimizer, options or {}, project, 2, settings), path).manifest


def read(path: Path) -> tuple[Bundle, ArtifactKind]:
    """Return what a wheel or a folder on disk holds, in memory, and what it is; raises MlbundleError."""
    job = prepare(read_config({"optimizers": []}, {}), Registry(iter(())))
    with open_session(job, path, None) as session:
        return _Loaded().bundle(session.artifact.scan().bundle), session.artifact.kind


def default_artifact(optimizer: type[Optimizer[Any]]) -> ArtifactKind:
    """Return what sort of artifact an optimizer is tried on: a folder, or else the first that it is for."""
    return "folder" if "folder" in optimizer.artifacts else optimizer.artifacts[0]


def _job(optimizer: type[Optimizer[Any]], options: Table, project: Path | None, workers: int, settings: Table | None = None) -> Job:
    package = optimizer.__module__.partition(".")[0]
    origin = OURS if package == "hatch_mlbundle" else package
    registry = Registry(iter([Registered(optimizer=optimizer, distribution=origin, distribution_version="0")]))
    table = {**(settings or {}), "optimizers": [optimizer.name], "workers": workers, optimizer.name: options}
    config = read_config(table, registry.option_types())
    if not config.steps:
        raise ValueError(f"{optimizer.__name__} does not run: its options say enabled = false")
    job = prepare(config, registry, project=project)
    if job.findings:
        raise ConfigurationError([finding.line() for finding in job.findings])
    return job


@contextmanager
def _opened(job: Job, files: Source, artifact: ArtifactKind, cache: Cache | None) -> Iterator[tuple[Bundle, Services]]:
    if isinstance(files, Path):
        with open_session(job, files, cache) as session:
            yield session.artifact.scan().bundle, session.services
        return
    bundle = files if isinstance(files, Bundle) else bundle_from(files)
    sacred = {path for path in bundle if path.endswith(_SACRED)} if artifact == "wheel" else set()
    with temporary_workspace() as workspace, ThreadPoolExecutor(job.config.workers) as pool:
        services = Services(
            workspace=workspace,
            cache=cache,
            pool=pool,
            progress=Silence(),
            refuses=(lambda change: wheel_refusal(change, sacred)) if artifact == "wheel" else (lambda _: None),
            kind=artifact,
            rules=Rules(workers=job.config.workers, forbidden=(cache.folder,) if cache else (), project=job.project),
        )
        yield bundle, services


class _Loaded:
    """Takes files into memory, each once: what they are read from is gone when the pipeline is done."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], MemoryContent] = {}

    def file(self, file: File) -> File:
        if isinstance(file.content, MemoryContent):
            return file
        key = (file.path, file.sha256)
        if key not in self._known:
            self._known[key] = MemoryContent(file.read())
        return replace(file, content=self._known[key])

    def bundle(self, bundle: Bundle) -> Bundle:
        return Bundle(map(self.file, bundle.values()))

    def applied(self, applied: Applied) -> Applied:
        before, after = applied.before, applied.after
        return replace(applied, before=before and self.file(before), after=after and self.file(after))
