"""Every choice that a person has for an artifact, made and tried: each optimizer alone, all together, each form of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from .application import left_out, rewriting
from .bundles.archives.pack import pack
from .bundles.artifact import Side
from .bundles.atomic_folder import remove_folder
from .bundles.compressed_files import compress_files
from .bundles.folder import tree_digest
from .bundles.frozen import FrozenArtifact
from .bundles.onefile import OneFileArtifact
from .cache import Cache
from .config import ArchiveFormat, selected
from .errors import ArtifactError, UnsoundResultError
from .job import Job
from .manifest import PackedRow
from .model import Bundle, DiskContent, File, Kind
from .pipeline import Outcome, Stage, run
from .progress import Progress
from .proof import open_runner
from .session import Session, open_session
from .verification.choices import Choice, Exploration
from .verification.runner import Runner
from .verification.subject import Subject
from .verification.tryouts import Laid, Tryouts
from .verification.verify import disturbances
from .verify_settings import VerifyCommand
from .workspace import Workspace, temporary_workspace

AS_IT_IS = "as it is"
TOGETHER = "all together"
_LEFT_OUT = "MB101"
"""The finding about a step that failed as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What a bundle is once written: `plain` are its files where commands run on it."""

    plain: Bundle
    installed: int
    compressed: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A choice before it is tried, and what is to be run: nothing where that would tell nothing more."""

    choice: Choice
    laid: Laid | None = None


def explore(job: Job, path: Path, *, command: Sequence[str] = (), repeat: int = 3) -> Exploration:
    """Make and try every choice for the artifact at `path`, which stays as it is; raises MlbundleError.

    `command`, where there is one, is run instead of the configured ones; each runs `repeat` times on each different result.
    """
    if command:
        verify = replace(job.config.settings.verify, commands=(VerifyCommand(run=tuple(command)),))
        job = replace(job, config=replace(job.config, settings=replace(job.config.settings, verify=verify)))
    with _cache(job) as cache, open_session(job, path, cache) as session:
        if isinstance(session.artifact, OneFileArtifact):
            raise session.artifact.refusal()
        if session.artifact.kind == "image":
            raise ArtifactError(str(path), "is a container image, which is not explored; try each choice with `mlbundle optimize -o`")
        before = session.artifact.scan()
        name = path.resolve().name
        runner = open_runner(job, session, path, name, before.bundle) if job.config.settings.verify.commands else None
        on_disk = runner.subject.on_disk if runner else session.artifact.on_disk
        tryouts = _start_tryouts(runner, on_disk(before.bundle) or before.bundle, repeat, job.progress) if runner else None
        subject = runner.subject if runner else None
        drafts = list(_Explorer(job=job, session=session, name=name, before=before, on_disk=on_disk, subject=subject).drafts())
        choices = _tried(drafts, tryouts) if tryouts else tuple(draft.choice for draft in drafts)
        return Exploration(
            artifact=name,
            kind=session.artifact.kind,
            sha256=before.account.sha256,
            commands=tryouts.commands() if tryouts else (),
            repeat=repeat,
            runs=tryouts.runner.runs if tryouts else 0,
            results=tryouts.results if tryouts else 0,
            jail=job.config.settings.verify.jail,
            choices=choices,
            findings=selected(job.config.settings, (*tryouts.findings, *disturbances(tryouts.runner))) if tryouts else (),
        )


@contextmanager
def _cache(job: Job) -> Iterator[Cache]:
    """Give the job's cache, or one for this time only where it has none: what one choice makes, another takes."""
    cache = job.cache()
    if cache:
        yield cache
        return
    with temporary_workspace() as workspace:
        yield Cache(workspace.new_folder(), job.config.settings.cache.max_size)


def _start_tryouts(runner: Runner, before: Bundle, repeat: int, progress: Progress) -> Tryouts:
    """Run the commands on the untouched artifact, as it lies on disk, before any other work."""
    progress.start(f"exploring: {AS_IT_IS}", 0)
    runner.subject = replace(runner.subject, on_disk=lambda plain: plain)  # a one-file executable is no bundle of the artifact's
    return Tryouts.start(runner, before, repeat, progress)


def _tried(drafts: Sequence[_Draft], tryouts: Tryouts) -> tuple[Choice, ...]:
    """Run the commands on all results, and return the choices with what came of it."""
    results = {number: draft.laid for number, draft in enumerate(drafts) if draft.laid}
    tried = dict(zip(results, tryouts.run(list(results.values())), strict=True))
    return tuple(
        replace(draft.choice, verdict=tried[number].verdict, problem=tried[number].problem, measured=tried[number].measured)
        if number in tried
        else draft.choice
        for number, draft in enumerate(drafts)
    )


@dataclass(slots=True, kw_only=True)
class _Explorer:
    """Makes the choices one after another. What two have in common is made once: a step on a bundle, a result, a compressed file.

    `on_disk` gives the files of a bundle as they lie where commands run on them; `subject`, where they do, is told of models that left.
    """

    job: Job
    session: Session
    name: str
    before: Side
    on_disk: Callable[[Bundle], Bundle | None]
    subject: Subject | None = None
    _outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    _wheels: dict[str, _Result] = field(default_factory=dict)
    _compressed: dict[str, int] = field(default_factory=dict)

    def drafts(self) -> Iterator[_Draft]:
        """Yield the choices in the order of their table."""
        untouched = Outcome(bundle=self.before.bundle, stages=(), findings=())
        stages = self.job.stages_for(self.session.artifact.kind)
        yield self._own_form(AS_IT_IS, untouched)
        for stage in stages:
            yield self._own_form(stage.name, self._after([stage], stage.name))
        together = self._after(stages, TOGETHER)
        yield self._own_form(TOGETHER, together)
        if isinstance(self.session.artifact, FrozenArtifact):
            yield self._one_file(f"{AS_IT_IS}, one file", untouched, self.session.artifact)
            yield self._one_file("all, one file", together, self.session.artifact)
        if self.session.artifact.kind != "wheel":
            yield from map(_untried, self._archives(together))

    def _after(self, stages: Sequence[Stage], name: str) -> Outcome:
        """Return what these stages do to the artifact, one after another."""
        outcome = Outcome(bundle=self.before.bundle, stages=(), findings=())
        for stage in stages:
            self.session.services.progress.start(f"exploring: {name}", 0)
            step = self._step(stage, outcome.bundle)
            outcome = Outcome(bundle=step.bundle, stages=(*outcome.stages, *step.stages), findings=(*outcome.findings, *step.findings))
        return outcome

    def _step(self, stage: Stage, bundle: Bundle) -> Outcome:
        key = stage.name, tree_digest(bundle)
        if key not in self._outcomes:
            services = self.session.services
            own = Workspace(services.workspace.new_folder())  # companions of one choice are none of another's
            self._outcomes[key] = run(bundle, [stage], replace(services, workspace=own))
            if self.subject:
                self.subject.learn(self._outcomes[key].stages)
        return self._outcomes[key]

    def _own_form(self, name: str, outcome: Outcome) -> _Draft:
        """Return the artifact as the stages left it, in its own form."""
        made = self._begin(name, outcome, self.session.artifact.kind)
        try:
            result = self._result(outcome)
        except (UnsoundResultError, ArtifactError) as error:
            return _untried(replace(made, verdict="broken", problem=str(error)))
        sized = replace(made, installed=result.installed, compressed=result.compressed, sha256=result.sha256)
        failed = [finding for finding in outcome.findings if finding.code == _LEFT_OUT]
        if failed and len(outcome.stages) == 1:
            return _untried(replace(sized, verdict="failed", problem=failed[0].message))
        return _Draft(choice=sized, laid=Laid(bundle=result.plain))

    def _begin(self, name: str, outcome: Outcome, form: str) -> Choice:
        self.session.services.progress.start(f"exploring: {name}", 0)
        optimizers = tuple(done.stage.name for done in outcome.stages)
        return Choice(name=name, optimizers=optimizers, form=form, findings=selected(self.job.config.settings, outcome.findings))

    def _result(self, outcome: Outcome) -> _Result:
        if self.session.artifact.kind != "wheel":
            return self._laid(outcome)
        key = tree_digest(outcome.bundle)
        if key not in self._wheels:
            self._wheels[key] = self._written(outcome.bundle)
        return self._wheels[key]

    def _laid(self, outcome: Outcome) -> _Result:
        """Return a folder: it need not be written to be known."""
        artifact, bundle = self.session.artifact, outcome.bundle
        if isinstance(artifact, FrozenArtifact):
            plain = artifact.on_disk(bundle, left_out(self.job, outcome))
        else:
            plain = self.on_disk(bundle) or bundle
        return _Result(plain=plain, installed=plain.size, compressed=self._deflated(plain), sha256=tree_digest(plain))

    def _written(self, bundle: Bundle) -> _Result:
        """Return a wheel: only writing it tells how large it is."""
        artifact, side = self.session.artifact, self.before
        if bundle != side.bundle:
            folder = self.session.services.workspace.new_folder()
            with artifact.rewriting(bundle, folder / self.name, self.session.compressor) as written:
                side = written.side
            remove_folder(folder)
        plain = self.on_disk(bundle) or bundle
        return _Result(plain=plain, installed=side.bundle.size, compressed=side.account.size, sha256=side.account.sha256)

    def _deflated(self, plain: Bundle) -> int:
        """Return the bytes that a folder's files take deflated one by one."""
        files = [file for file in plain.values() if file.link is None]
        fresh = list({file.sha256: file for file in files if file.sha256 not in self._compressed}.values())
        with closing(compress_files(fresh, self.session.compressor, self.job.config.workers)) as streams:
            for file, packed in zip(fresh, streams, strict=True):
                self._compressed[file.sha256] = packed.compressed_size
        return sum(self._compressed[file.sha256] for file in files)

    def _one_file(self, name: str, outcome: Outcome, artifact: FrozenArtifact) -> _Draft:
        """Pack the bundle into one executable."""
        made = self._begin(name, outcome, "one-file")
        told = left_out(self.job, outcome)
        executable = self.before.bundle.of_kind(Kind.FROZEN)[0].path
        place = self.session.services.workspace.new_folder() / executable
        try:
            with artifact.packing(outcome.bundle, place, self.session.compressor, self.job.config.workers, told) as written:
                (packed,) = written.packed
        except (UnsoundResultError, ArtifactError) as error:
            return _untried(replace(made, verdict="impossible", problem=str(error)))
        sized = replace(made, installed=packed.size, compressed=packed.size, sha256=packed.sha256)
        if self.subject:
            self.subject.learn_packed(packed.sha256, outcome.bundle)
        return _Draft(choice=sized, laid=Laid(bundle=_lone(place, packed), unpacks=written.side.account.size))

    def _archives(self, outcome: Outcome) -> Iterator[Choice]:
        """Pack all together into the archives that are wanted."""
        formats, folder = self.job.config.settings.archive, self.session.services.workspace.new_folder()
        if not formats:
            return
        with rewriting(self.session, folder / self.name)(outcome.bundle, left_out(self.job, outcome)) as written:
            for each in formats:
                made = self._begin(f"all, {each}", outcome, each)
                try:
                    packed = self._packed(written.path, folder / f"packed.{each}", each)
                except ArtifactError as error:
                    yield replace(made, verdict="impossible", problem=str(error))
                else:
                    yield replace(made, installed=written.side.account.size, compressed=packed.size, sha256=packed.sha256)
        remove_folder(folder)

    def _packed(self, folder: Path, target: Path, archive_format: ArchiveFormat) -> PackedRow:
        services, config = self.session.services, self.job.config
        packed = pack(
            folder,
            target,
            archive_format,
            config.settings.packing,
            workers=config.workers,
            name=self.name,
            progress=services.progress,
            scratch=services.workspace.new_folder(),
        )
        target.unlink()
        return packed


def _untried(choice: Choice) -> _Draft:
    return _Draft(choice=choice)


def _lone(executable: Path, packed: PackedRow) -> Bundle:
    """Return a folder with nothing in it but one executable."""
    content = DiskContent(executable)
    file = File(path=executable.name, size=packed.size, sha256=packed.sha256, mode=0o755, kind=Kind.FROZEN, owner="python", content=content)
    return Bundle([file])
