"""The only composer: configuration, plugins, artifact, pipeline and manifest put together for the adapters and the command line."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from . import __version__
from .accounting import Ledger
from .atomic import replace_atomically
from .bundles.artifact import Artifact, Side
from .bundles.atomic_folder import recover
from .bundles.cached_compressor import CachedCompressor
from .bundles.compressor import LIBDEFLATE, Compressor, DeflateCompressor, compressor_identity
from .bundles.deflate import BlockPool
from .bundles.executable import open_executables
from .bundles.folder import FolderArtifact
from .bundles.frozen import FrozenArtifact
from .bundles.frozen_owner import frozen_owner
from .bundles.wheel import WheelSource
from .bundles.wheel_artifact import WheelArtifact
from .bundles.zip_reader import Limits
from .cache import Cache, default_folder
from .canonical import digest, sha256_of_file
from .config import Config, decisive_settings, options_to_dict
from .errors import ArtifactError, FindingsError, ManifestError
from .finished import Finished, recall, remember
from .manifest import SUFFIX, CompanionRow, Manifest, ToolRow
from .model import CHUNK, Finding, Kind
from .optimizer import Json, Options
from .pipeline import Outcome, Planned, Services, Stage, plan, run
from .plugins import Registered, Registry
from .progress import Progress, Silence
from .storage import storage_errors
from .workspace import Workspace, temporary_workspace

COMPANIONS = ".companions"
"""What is appended to an artifact's file name to name the folder of files that belong beside it (debug data, ...)."""

_HARMLESS = ("enabled", "include", "exclude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A configuration ready to be carried out on any number of artifacts: its optimizers made, their programs found.

    `project` is the folder that relative paths of the configuration start from.
    """

    config: Config
    stages: tuple[Stage, ...]
    tools: tuple[ToolRow, ...]
    project: Path
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done to an artifact, and the findings that planning brought."""

    before: Side
    stages: tuple[Planned, ...]
    findings: tuple[Finding, ...]


def prepare(config: Config, registry: Registry, *, project: Path | None = None, progress: Progress | None = None) -> Job:
    """Make the optimizers and find their programs, so that what is missing is told before any work; raises MissingProgramError."""
    stages: list[Stage] = []
    programs: dict[str, str] = {}
    for step in config.steps:
        registered = registry[step.name]
        optimizer = registered.optimizer(step.options)
        needed = dict(optimizer.programs())
        programs.update(needed)
        stages.append(
            Stage(
                optimizer=optimizer,
                distribution=registered.distribution,
                version=registered.distribution_version,
                identity=_identity(registered, step.options, needed),
            )
        )
    return Job(
        config=config,
        stages=tuple(stages),
        tools=_tools(programs),
        project=project or Path.cwd(),
        progress=progress or Silence(),
    )


def optimize(job: Job, path: Path, output: Path | None = None, findings: Sequence[Finding] = ()) -> Manifest:
    """Make the artifact at `path` small, put it at `output` (or in its own place), and its manifest where the configuration says.

    `findings` are what the caller found out before. Raises MlbundleError; then nothing was replaced.
    """
    target = output or path
    cache = _cache(job)
    sha256 = _wheel_digest(path) if cache else None
    key = _finished_key(job, sha256, path, target, findings) if sha256 else None
    finished = recall(cache, key) if cache and key else None
    if finished and _install(job, finished, path, target):
        return finished.manifest
    with _open(job, path, cache) as session:
        made = _make(job, session, path, target, findings)
        if cache and key and made.lasting and made.manifest.artifact.before.sha256 == sha256:
            with suppress(OSError):
                remember(cache, key, made.manifest, made.text, target, session.services.workspace.new_folder())
    return made.manifest


def plan_for(job: Job, path: Path) -> Plan:
    """Return what `optimize` would do to the artifact at `path`, and why; raises MlbundleError."""
    with _open(job, path, _cache(job)) as session:
        before = session.artifact.scan()
        stages, findings = plan(before.bundle, _stages(job, session.artifact), session.services)
        selected = _selected(job.config, (*_idle(job.config), *findings))
        return Plan(before=before, stages=tuple(stages), findings=selected)


def analyze(job: Job, path: Path) -> Manifest:
    """Return a manifest of the artifact as it is: no steps, the same before and after. Raises MlbundleError."""
    with _open(job, path, _cache(job)) as session:
        before = session.artifact.scan()
        nothing = Outcome(bundle=before.bundle, stages=(), findings=())
        return _manifest(job, session, path.name, before, before, nothing, (), ())


def saved_manifest_path(job: Job, artifact: Path) -> Path | None:
    """Return where `optimize` saves an artifact's manifest, None where the configuration wants none."""
    return beside(job, artifact, SUFFIX) if job.config.settings.manifest else None


def beside(job: Job, artifact: Path, suffix: str = "") -> Path:
    """Return the artifact's own path, or the one in the configured folder, with something appended to the name."""
    folder = job.config.settings.manifest_folder
    return (job.project / Path(folder).expanduser() if folder else artifact.parent) / f"{artifact.name}{suffix}"


def cache_of(config: Config, project: Path) -> Cache:
    """Return the configured cache, whether it is switched on or not; its folder is relative to `project`."""
    settings = config.settings.cache
    folder = project / Path(settings.folder).expanduser() if settings.folder else default_folder()
    return Cache(folder, settings.max_size)


def _tools(programs: Mapping[str, str]) -> tuple[ToolRow, ...]:
    """Return the libraries that every result depends on, and these programs."""
    ours = (("deflate", LIBDEFLATE), ("python", platform.python_version()), ("zlib", zlib.ZLIB_RUNTIME_VERSION))
    return tuple(ToolRow(name=name, version=version) for name, version in (*ours, *sorted(programs.items())))


def _wheel_digest(path: Path) -> str | None:
    """Return a wheel's SHA-256, None for what is no wheel or cannot be read: others say so better."""
    readable = path.suffix == ".whl" and os.access(path, os.R_OK) and path.is_file()
    return sha256_of_file(path) if readable else None


def _finished_key(job: Job, sha256: str, wheel: Path, target: Path, findings: Sequence[Finding]) -> str:
    """Return the key of everything that decides a wheel and its manifest."""
    settings = job.config.settings
    steps = [[stage.identity, options_to_dict(stage.optimizer.options)] for stage in job.stages]
    decisive = [decisive_settings(job.config), options_to_dict(settings.limits), list(job.config.idle)]
    surroundings = [
        __version__,
        sys.platform,
        platform.machine(),
        [asdict(tool) for tool in job.tools],
        os.environ.get("SOURCE_DATE_EPOCH"),
    ]
    told = [asdict(finding) for finding in findings]
    return digest(["finished", sha256, wheel.name, target.name, steps, decisive, surroundings, told])


def _install(job: Job, finished: Finished, path: Path, target: Path) -> bool:
    """Put a result of an earlier build in its place; return False where it has to be made all the same."""
    if finished.wheel is None and target != path:
        return False
    try:
        with ExitStack() as commits:
            sink = _manifest_sink(job, target, finished.manifest, commits)
            if sink:
                sink.write(finished.text)
            if finished.wheel:
                commits.enter_context(_companions((), beside(job, target, COMPANIONS)))
                copy = commits.enter_context(replace_atomically(target))
                with finished.wheel.open("rb") as source:
                    shutil.copyfileobj(source, copy, CHUNK)
    except FileNotFoundError:  # another build pruned the cache between the look and the grasp
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A manifest, its text, and whether the same would come of it another time."""

    manifest: Manifest
    text: bytes
    lasting: bool


def _make(job: Job, session: _Session, path: Path, target: Path, findings: Sequence[Finding]) -> _Made:
    """Run the pipeline and write the artifact. What lies beside it is replaced with it, not where it stays as it is."""
    before = session.artifact.scan()
    outcome = run(before.bundle, _stages(job, session.artifact), session.services)
    told = _told(job.config, (*findings, *_idle(job.config), *outcome.findings))
    replaced = outcome.bundle != before.bundle or target != path
    with ExitStack() as commits:  # from last to first: the artifact, then what tells of it
        companions: tuple[CompanionRow, ...] = ()
        after = before
        with ExitStack() as written:
            if replaced:
                found = session.services.workspace.found_companions()
                companions = commits.enter_context(_companions(found, beside(job, target, COMPANIONS)))
                session.services.progress.start("writing", 0)
                after = written.enter_context(session.artifact.rewriting(outcome.bundle, target, session.compressor))
            manifest = _manifest(job, session, target.name, before, after, outcome, told, companions)
            text = manifest.to_json().encode(errors="backslashreplace")
            sink = _manifest_sink(job, target, manifest, commits)
            if sink:
                sink.write(text)
    return _Made(manifest=manifest, text=text, lasting=_is_lasting(manifest, outcome))


def _stages(job: Job, artifact: Artifact) -> list[Stage]:
    """Return the stages that are for such an artifact."""
    return [stage for stage in job.stages if artifact.kind in stage.optimizer.artifacts]


def _is_lasting(manifest: Manifest, outcome: Outcome) -> bool:
    """Say whether nothing of the moment had a part in it: a finding (a program missing or failing), a program found on the way."""
    foreign = any(row.kind in (Kind.PE.value, Kind.MACHO.value) for row in manifest.files)
    return not (outcome.findings or manifest.companions or foreign)


def _manifest_sink(job: Job, target: Path, manifest: Manifest, commits: ExitStack) -> BinaryIO | None:
    """Return where to write the manifest, None where none is wanted, or where the one there tells more of the same artifact.

    A second run finds nothing to save; the manifest of the first, which says what was saved and why, must outlive it.
    """
    place = saved_manifest_path(job, target)
    if place is None:
        return None
    row = manifest.artifact
    with suppress(ManifestError):
        former = Manifest.load(place).artifact
        if row.before.sha256 == row.after.sha256 == former.after.sha256 != former.before.sha256:
            return None
    return commits.enter_context(replace_atomically(_with_folder(place)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """An artifact open for work, with all that the work needs."""

    artifact: Artifact
    services: Services
    compressor: Compressor


def _cache(job: Job) -> Cache | None:
    return cache_of(job.config, job.project) if job.config.settings.cache.enabled else None


@contextmanager
def _open(job: Job, path: Path, cache: Cache | None) -> Iterator[_Session]:
    workers = job.config.workers
    level = job.config.settings.compression_level
    job.progress.start("reading", 0)
    with ExitStack() as stack:
        workspace = stack.enter_context(temporary_workspace())
        pool = stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="mlbundle"))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        compressor: Compressor = DeflateCompressor(level, stack.enter_context(BlockPool(workers)), workspace.new_folder())
        if cache:
            compressor = CachedCompressor(compressor, compressor_identity(level), cache, workspace.new_folder())
        artifact = _artifact(job, path, pool, cache, workspace, stack)
        services = Services(workspace=workspace, cache=cache, pool=pool, progress=job.progress, refuses=artifact.refuses)
        yield _Session(artifact=artifact, services=services, compressor=compressor)
    if cache:
        cache.prune()


def _artifact(job: Job, path: Path, pool: ThreadPoolExecutor, cache: Cache | None, workspace: Workspace, stack: ExitStack) -> Artifact:
    settings = job.config.settings
    recover(path.resolve())
    if path.is_dir():
        return _folder_artifact(path, pool, cache, workspace, stack)
    if path.suffix != ".whl":
        raise ArtifactError(str(path), "is neither a wheel (.whl) nor a folder" if path.exists() else "does not exist")
    limits = Limits(max_ratio=settings.limits.max_ratio, max_size=settings.limits.max_size)
    source = stack.enter_context(WheelSource.open(path, limits=limits, allow_signed=settings.allow_signed))
    return WheelArtifact(source, job.config.workers, cache, workspace.new_folder())


def _folder_artifact(path: Path, pool: ThreadPoolExecutor, cache: Cache | None, workspace: Workspace, stack: ExitStack) -> Artifact:
    executables = stack.enter_context(open_executables(path))
    if not executables:
        return FolderArtifact(path, pool)
    contents = next(each.archive.contents_folder for each in executables.values())
    folder = FolderArtifact(path, pool, partial(frozen_owner, contents=contents))
    return FrozenArtifact(folder, executables, pool, cache, workspace.new_folder())


def _identity(registered: Registered, options: Options, programs: Mapping[str, str]) -> Json:
    """Return what decides an optimizer's results. Which files it may change does not: that decides whether they come to be."""
    decisive = {key: value for key, value in options_to_dict(options).items() if key not in _HARMLESS}
    optimizer = registered.optimizer
    return [optimizer.name, optimizer.version, registered.distribution, registered.distribution_version, decisive, dict(programs)]


def _idle(config: Config) -> list[Finding]:
    advice = "has options but is not in `optimizers`; list it there, or delete them"
    return [Finding(code="MB002", message=f"[tool.mlbundle.{name}] {advice}") for name in config.idle]


def _selected(config: Config, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    ignored = config.settings.ignore
    return tuple(finding for finding in findings if not (ignored and finding.code.startswith(ignored)))


def _told(config: Config, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that are not ignored; raises FindingsError where there are any and `strict` is set."""
    selected = _selected(config, findings)
    if selected and config.settings.strict:
        raise FindingsError(selected)
    return selected


def _manifest(
    job: Job,
    session: _Session,
    name: str,
    before: Side,
    after: Side,
    outcome: Outcome,
    findings: tuple[Finding, ...],
    companions: tuple[CompanionRow, ...],
) -> Manifest:
    compressor = session.compressor
    ledger = Ledger(before=before, after=after, stages=outcome.stages, measure=lambda file: compressor.compress(file).compressed_size)
    files = ledger.files()
    steps = ledger.steps(files)
    return Manifest(
        generator=f"hatch-mlbundle {__version__}",
        artifact=ledger.artifact(name, session.artifact.kind),
        tools=_tools({name: version for stage in job.stages for name, version in stage.optimizer.programs().items()}),
        configuration=decisive_settings(job.config),
        steps=steps,
        remainder=ledger.remainder(steps),
        files=files,
        companions=companions,
        findings=findings,
    )


@contextmanager
def _companions(found: Iterable[tuple[str, Path]], target: Path) -> Iterator[tuple[CompanionRow, ...]]:
    """Copy the files that belong beside the artifact; they take the place of an earlier build's when the body ends well."""
    partial = target.with_name(f".{target.name}.mlbundle-partial")
    rows = []
    with storage_errors(target):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for name, path in found:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, partial / name)
                rows.append(CompanionRow(path=name, size=path.stat().st_size, sha256=sha256_of_file(path)))
            yield tuple(rows)
            shutil.rmtree(target, ignore_errors=True)
            if rows:
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _with_folder(path: Path) -> Path:
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path
