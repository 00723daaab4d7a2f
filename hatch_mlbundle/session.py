"""An artifact open for work, and all that the work needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .bundles.artifact import Artifact
from .bundles.atomic_folder import recover
from .bundles.cached_compressor import CachedCompressor
from .bundles.compressor import Compressor, DeflateCompressor, compressor_identity
from .bundles.deflate import BlockPool
from .bundles.executable import open_executables
from .bundles.folder import FolderArtifact
from .bundles.frozen import FrozenArtifact
from .bundles.frozen_owner import frozen_owner
from .bundles.onefile import OneFileArtifact, one_file_executable
from .bundles.shared_file import SharedFile
from .bundles.tables import Tables, TablesArtifact
from .bundles.wheel import WheelSource
from .bundles.wheel_artifact import WheelArtifact
from .bundles.zip_reader import Limits
from .cache import Cache
from .errors import ArtifactError
from .job import Job
from .pipeline import Services, everything
from .runtime.machine.statements import is_statement
from .sandbox import Rules
from .workspace import Workspace, temporary_workspace

if TYPE_CHECKING:
    from .accuracy.judge import ModelJudge
    from .bundles.images.artifact import ImageArtifact
    from .bundles.images.writable import WritableImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An artifact open for work, with all that the work needs; `made_here` says that the Python that runs this one made it."""

    artifact: Artifact
    services: Services
    compressor: Compressor
    made_here: bool = False


Source: TypeAlias = Path | Sequence[Tables]
"""Where an artifact is: on disk, or in the tables of a spec file."""


@contextmanager
def open_session(
    job: Job, source: Source, cache: Cache | None, *, ours: bool = False, reads: bool = False, contents: bool = True
) -> Iterator[Session]:
    """Open an artifact with all that the work on it needs; raises MlbundleError.

    `ours` says that nobody else uses it, `reads` that nothing of it will be changed: then it may be signed. Without
    `contents`, the bytes of single files need not be read afterwards.
    """
    job.progress.start("reading", 0)
    with ExitStack() as stack:
        workspace = stack.enter_context(temporary_workspace())
        pool = stack.enter_context(ThreadPoolExecutor(job.config.workers, thread_name_prefix="mlbundle"))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        compressor = _compressor(job, cache, workspace, stack)
        artifact: Artifact
        if isinstance(source, Path):
            opening = _Opening(
                job=job, path=source, pool=pool, cache=cache, workspace=workspace, stack=stack, ours=ours, reads=reads, contents=contents
            )
            artifact = opening.artifact()
        else:
            artifact = TablesArtifact(source, pool, tells=job.config.settings.runtime_messages)
        judge = _judge(job, workspace)
        if judge:
            stack.callback(judge.stop)  # before the pool, which waits for the searches that it runs
        image = writable_image(artifact)
        services = Services(
            workspace=workspace,
            cache=cache,
            pool=pool,
            progress=job.progress,
            refuses=artifact.refuses,
            judge=judge,
            kind=artifact.kind,
            selects=_selects(image),
            rules=_rules(job, source, cache),
        )
        yield Session(artifact=artifact, services=services, compressor=compressor, made_here=ours or not isinstance(source, Path))
    if cache:
        cache.prune()


@contextmanager
def open_compressor(job: Job) -> Iterator[Compressor]:
    """Give what deflates files as a session of the job does it, for what is packed before there is an artifact; raises StorageError."""
    with ExitStack() as stack:
        yield _compressor(job, job.cache(), stack.enter_context(temporary_workspace()), stack)


def writable_image(artifact: Artifact) -> WritableImage | None:
    """Return the artifact where it is a container image that can be changed, None for any other."""
    if artifact.kind != "image":
        return None
    from .bundles.images.writable import WritableImage  # what reads images costs as much time as a small wheel does

    return artifact if isinstance(artifact, WritableImage) else None


def _selects(image: WritableImage | None) -> Callable[[str], bool]:
    """Return what says which files steps may change: none of the statements that are made of what they do."""
    selects = image.selects if image else everything
    return lambda path: not is_statement(path) and selects(path)


def _compressor(job: Job, cache: Cache | None, workspace: Workspace, stack: ExitStack) -> Compressor:
    """Return what deflates files, with results of earlier builds where there is a cache; `stack` ends it."""
    level = job.config.settings.compression_level
    deflating = DeflateCompressor(level, stack.enter_context(BlockPool(job.config.workers)), workspace.new_folder())
    return CachedCompressor(deflating, compressor_identity(level), cache, workspace.new_folder()) if cache else deflating


def _rules(job: Job, source: Source, cache: Cache | None) -> Rules:
    """Return what steps of other distributions may not touch: the artifact, what lies beside it, the cache, the project."""
    place = (source.absolute(), source.absolute().parent) if isinstance(source, Path) else ()
    forbidden = (*place, *([cache.folder] if cache else []))
    return Rules(workers=job.config.workers, forbidden=forbidden, project=job.project)


def _judge(job: Job, workspace: Workspace) -> ModelJudge | None:
    if job.inquiry is None:
        return None
    from .accuracy.judge import ModelJudge  # costs time, and most builds measure nothing

    return ModelJudge(job.inquiry, workspace.new_folder())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """What it takes to open an artifact; `stack` closes it."""

    job: Job
    path: Path
    pool: ThreadPoolExecutor
    cache: Cache | None
    workspace: Workspace
    stack: ExitStack
    ours: bool
    reads: bool
    contents: bool

    def artifact(self) -> Artifact:
        recover(self.path.resolve())
        if self.path.suffix == ".whl" and not self.path.is_dir():
            return self._wheel()
        if not self.path.exists():
            raise ArtifactError(str(self.path), "does not exist")
        from .bundles.images.artifact import open_image  # see writable_image

        image = open_image(self.path, self.pool, self._limits, self.job.wanted)
        if image:
            return self._writable(image) if self.contents else image
        return self._folder() if self.path.is_dir() else self._one_file()

    def _writable(self, image: ImageArtifact) -> WritableImage:
        from .bundles.images.writable import ImageWork, WritableImage  # see writable_image

        work = ImageWork(
            settings=self.job.config.settings.image,
            project=self.job.project,
            pool=self.pool,
            workers=self.job.config.workers,
            new_folder=self.workspace.new_folder,
            steps=[stage.name for stage in self.job.stages_for("image")],
        )
        return WritableImage(self.path, image, work)

    def _folder(self) -> Artifact:
        executables = self.stack.enter_context(open_executables(self.path))
        if not executables:
            return FolderArtifact(self.path, self.pool, ours=self.ours)
        contents = next(each.archive.contents_folder for each in executables.values())
        folder = FolderArtifact(self.path, self.pool, partial(frozen_owner, contents=contents), ours=self.ours)
        tells = self.job.config.settings.runtime_messages
        return FrozenArtifact(folder, executables, self.pool, self.cache, self.workspace.new_folder(), tells=tells)

    def _wheel(self) -> Artifact:
        allow_signed = self.reads or self.job.config.settings.allow_signed
        source = self.stack.enter_context(WheelSource.open(self.path, limits=self._limits, allow_signed=allow_signed))
        return WheelArtifact(source, self.job.config.workers, self.cache, self.workspace.new_folder())

    def _one_file(self) -> Artifact:
        file = self.stack.enter_context(closing(SharedFile(self.path)))
        executable, folder = one_file_executable(file), self.workspace.new_folder()
        return OneFileArtifact(executable=executable, pool=self.pool, limits=self._limits, folder=folder)

    @property
    def _limits(self) -> Limits:
        limits = self.job.config.settings.limits
        return Limits(max_ratio=limits.max_ratio, max_size=limits.max_size)
