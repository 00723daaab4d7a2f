"""The only composer: configuration, plugins, artifact, pipeline and manifest put together for the adapters and the command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from . import __version__
from .accounting import Ledger
from .atomic import replace_atomically
from .beside import COMPANIONS, beside, replacing_companions, replacing_report, write_manifest
from .budgeting import held
from .built_reports import replacing_reports
from .bundles.archives.pack import archive_of, packing
from .bundles.artifact import Side, Written
from .bundles.frozen import FrozenArtifact
from .bundles.missing_notice import LeftOut, one_line
from .bundles.onefile import OneFileArtifact
from .bundles.tables import Tables
from .config import Config, decisive_settings, selected
from .contents.removable_rows import removable_of
from .contents.rows import contents_of
from .epoch import stated_epoch
from .errors import ArtifactError, FindingsError
from .finished import Finished, recall, remember
from .finished_key import finished_key, wheel_digest
from .job import Job, remedy_of
from .manifest import CompanionRow, Manifest, PackedRow
from .model import CHUNK, Bundle, Finding, Kind
from .models.left_models import told_names
from .models_beside import ModelsBeside, models_that_left, replacing_models
from .pipeline import Outcome, Planned, plan, run
from .provenance.record import Author
from .runtime.machine.statements import CPU_STEP, GPU_STEP, is_statement, statement_paths
from .session import Session, open_session, writable_image
from .step_order import late_steps
from .suggestions import Trials, suggest
from .verification.judged import Proof, Trust
from .verification.report import Verification

_Write: TypeAlias = Callable[[Bundle, Sequence[LeftOut]], AbstractContextManager[Written]]
"""Writes the changed bundle, and into frozen executables what was left out of it; the result takes its place when the context ends
without an error.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done to an artifact, and the findings that planning brought."""

    before: Side
    stages: tuple[Planned, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was done to an artifact, and what its verification found, None where it was not verified."""

    manifest: Manifest
    verification: Verification | None = None


def optimize(job: Job, path: Path, output: Path | None = None, findings: Sequence[Finding] = ()) -> Result:
    """Make the artifact at `path` small, put it at `output` (or in its own place), and its manifest where the configuration says.

    `findings` are what the caller found out before. Raises MlbundleError; then nothing was replaced.
    """
    target = output or path
    cache = job.cache()
    sha256 = wheel_digest(path) if cache and job.lasting and not job.config.settings.verify.commands else None
    key = finished_key(job, sha256, path, target, findings) if sha256 else None
    finished = recall(cache, key) if cache and key else None
    if finished and _install(job, finished, path, target):
        return Result(manifest=finished.manifest)
    with open_session(job, path, cache) as session:
        _check_writable(session, target)
        made = _make(job, session, path, target, findings, rewriting(session, target))
        manifest = made.result.manifest
        if cache and key and made.lasting and manifest.artifact.before.sha256 == sha256:
            with suppress(OSError):
                remember(cache, key, manifest, made.text, target, session.services.workspace.new_folder())
    return made.result


def finish_frozen(job: Job, built: Path, target: Path, *, one_file: bool = False, findings: Sequence[Finding] = ()) -> Result:
    """Make the folder `built`, which PyInstaller just made and nobody else uses, small, and put it at `target`.

    It takes the place of what an earlier build put there; with `one_file`, `target` becomes one executable packed from it. The
    manifest lies beside it. Raises MlbundleError; then what was there before stays.
    """
    with open_session(job, built, job.cache(), ours=True) as session:
        write = _packing(job, session, target) if one_file else rewriting(session, target)
        return _make(job, session, built, target, findings, write).result


def optimize_tables(job: Job, tables: Sequence[Tables], folder: Path, target: Path) -> Result:
    """Change a spec file's tables so that PyInstaller collects what the pipeline leaves, rewritten files from `folder`.

    The manifest lies beside `target`, the bundle to come. Raises MlbundleError; then nothing was changed.
    """
    with open_session(job, tables, job.cache()) as session:
        return _make(job, session, None, target, (), rewriting(session, folder)).result


def plan_for(job: Job, path: Path) -> Plan:
    """Return what `optimize` would do to the artifact at `path`, and why; raises MlbundleError."""
    with open_session(job, path, job.cache()) as session:
        _check_writable(session)
        before = session.artifact.scan()
        stages, findings = plan(before.bundle, job.stages_for(session.artifact.kind), session.services)
        told = selected(job.config.settings, (*job.findings, *_idle(job), *findings))
        return Plan(before=before, stages=tuple(stages), findings=told)


def analyze(job: Job, path: Path, trials: Trials | None = None) -> Manifest:
    """Return a manifest of the artifact as it is: no steps, the same before and after, and what `trials` would save.

    Raises MlbundleError.
    """
    with open_session(job, path, job.cache(), reads=True, contents=bool(trials)) as session:
        if trials:
            _check_writable(session)
        before = session.artifact.scan()
        nothing = Outcome(bundle=before.bundle, stages=(), findings=())
        manifest = _manifest(
            job, session, path.name, before, before, nothing, selected(job.config.settings, (*job.findings, *before.findings))
        )
        if not trials:
            return manifest
        suggestions, findings = suggest(trials, before, session.artifact.kind, session.services)
        return replace(manifest, suggestions=suggestions, findings=(*manifest.findings, *selected(job.config.settings, findings)))


def _install(job: Job, finished: Finished, path: Path, target: Path) -> bool:
    """Put a result of an earlier build in its place; return False where it has to be made all the same."""
    if finished.wheel is None and target != path:
        return False
    try:
        with ExitStack() as commits:
            _tell(job, target, finished.manifest, finished.text, commits)
            if finished.wheel:
                commits.enter_context(replacing_companions((), beside(job, target, COMPANIONS)))
                copy = commits.enter_context(replace_atomically(target))
                with finished.wheel.open("rb") as source:
                    shutil.copyfileobj(source, copy, CHUNK)
    except FileNotFoundError:  # another build pruned the cache between the look and the grasp
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A result, its manifest's text, and whether the same would come of it another time."""

    result: Result
    text: bytes
    lasting: bool


def _make(job: Job, session: Session, path: Path | None, target: Path, findings: Sequence[Finding], write: _Write) -> _Made:
    """Run the pipeline and write the artifact. What lies beside it is replaced with it, not where it stays as it is."""
    before = session.artifact.scan()
    proof = _proof(job, session, path, target.name, before.bundle)
    judged = proof.judge(run(before.bundle, job.stages_for(session.artifact.kind), session.services))
    outcome, verification = _stated(session, before, judged.outcome), judged.report
    outcome = _documented(job, session, before, outcome, target)
    told = _told(job.config, (*findings, *job.findings, *_idle(job), *outcome.findings))
    outside = told_names(outcome.bundle)
    replaced = outcome.bundle != before.bundle or target != path or _is_unfinished(session)
    with ExitStack() as commits:  # from last to first: the artifact, the models that left it being there already, then what tells of it
        models: ModelsBeside | None = None
        companions: tuple[CompanionRow, ...] = ()
        written = Written(side=before, path=target)
        with ExitStack() as artifact:
            if replaced:
                found = session.services.workspace.found_companions()
                companions = commits.enter_context(replacing_companions(found, beside(job, target, COMPANIONS)))
                left = models_that_left(outcome.stages)
                models = artifact.enter_context(replacing_models(left, target, session.services.pool, earlier=outside, source=path))
                companions += tuple(models.rows)
                session.services.progress.start("writing", 0)
                written = artifact.enter_context(write(outcome.bundle, left_out(job, outcome)))
            told = (*told, *_told(job.config, written.findings))
            packed = (*written.packed, *_archives(job, session, written.path, target, commits))
            manifest = _manifest(job, session, target.name, before, written.side, outcome, told, companions, packed)
            manifest = _within_budget(job, manifest, verification)
            text = manifest.to_json().encode(errors="backslashreplace")
            _tell(job, target, manifest, text, commits)
            commits.enter_context(replacing_report(verification, job, target, written.side.account.sha256))
            if models:
                models.put_in_place()
    lasting = not outside and _is_lasting(manifest, outcome)  # models may lie beside the artifact another time
    return _Made(result=Result(manifest=manifest, verification=verification), text=text, lasting=lasting)


def _stated(session: Session, before: Side, outcome: Outcome) -> Outcome:
    """Return the outcome with what a bundle that changed, or was just frozen, says of machines that it has no code for."""
    sources = [Path(each) for each in statement_paths()] if session.made_here else []
    told = sources or any(done.stage.name in (GPU_STEP, CPU_STEP) for done in outcome.stages) or any(map(is_statement, outcome.bundle))
    if not told or (outcome.bundle == before.bundle and not sources):
        return outcome
    from .provenance.machine_stating import with_statements  # most builds need none

    image = writable_image(session.artifact)
    return with_statements(before.bundle, outcome, session.artifact.kind, image.is_of_base if image else lambda _: False, sources)


def _documented(job: Job, session: Session, before: Side, outcome: Outcome, target: Path) -> Outcome:
    """Return the outcome with what a wheel that changed says of itself; the SBOM of a frozen bundle or a folder is to lie beside it."""
    kind, settings = session.artifact.kind, job.config.settings
    if kind == "image" or (kind == "wheel" and outcome.bundle == before.bundle) or (kind != "wheel" and not settings.sbom):
        return outcome
    author = Author(name="hatch-mlbundle", version=__version__, moment=stated_epoch())
    if kind != "wheel":
        from .provenance.frozen_inventory import write_sbom

        write_sbom(outcome.bundle, target.name, author, session.services.workspace.companions, made_here=session.made_here)
        return outcome
    from .provenance.documents import Documents  # most builds of a finished wheel need none

    private = (job.project.absolute(), Path(os.path.expanduser("~")))  # noqa: PTH111 - Path.home() raises where there is none
    return Documents(settings=settings, author=author, private=private).put_into(before, outcome)


def _tell(job: Job, target: Path, manifest: Manifest, text: bytes, commits: ExitStack) -> None:
    """Write the manifest, of which this is the text, and the reports made from what is written."""
    written = write_manifest(job, target, manifest, text, commits)
    if written:
        commits.enter_context(replacing_reports(job, target, written))


def _within_budget(job: Job, manifest: Manifest, verification: Verification | None) -> Manifest:
    """Return the manifest with what came of the budget; raises BudgetError, and FindingsError where `strict` is set."""
    checked = held(job, manifest, verification)
    if checked is None:
        return manifest
    return replace(manifest, budget=checked.rows(), findings=(*manifest.findings, *_told(job.config, checked.findings)))


def _proof(job: Job, session: Session, path: Path | None, name: str, before: Bundle) -> Proof:
    """Return the proof that the configuration asks for, its first half done; raises VerificationError."""
    if not job.config.settings.verify.commands:
        return Trust()
    from .proof import start_proof  # costs 50 ms, and most builds need none

    return start_proof(job, session, path, name, before)


def _archives(job: Job, session: Session, folder: Path, target: Path, commits: ExitStack) -> Iterator[PackedRow]:
    """Pack the finished folder; the archives take their place beside `target` with everything else."""
    settings, services = job.config.settings, session.services
    for each in settings.archive if session.artifact.kind not in ("wheel", "image") else ():
        archive = packing(
            folder,
            archive_of(target, each),
            each,
            settings.packing,
            workers=job.config.workers,
            name=target.name,
            progress=services.progress,
            scratch=services.workspace.new_folder(),
        )
        yield commits.enter_context(archive)


def _check_writable(session: Session, target: Path | None = None) -> None:
    """Raise ArtifactError for what can be analyzed only, and where the result cannot go to `target`, before any work."""
    if isinstance(session.artifact, OneFileArtifact):
        raise session.artifact.refusal()
    image = writable_image(session.artifact)
    if image and target:
        image.check_target(target)


def _is_unfinished(session: Session) -> bool:
    """Say whether the artifact is to be written anew even where no step changes a file."""
    image = writable_image(session.artifact)
    return image is not None and image.is_to_be_written


def _gives_bytes(session: Session, side: Side) -> bool:
    """Say whether the bytes of single files can be read: of tables, and of what lies in a layer, they cannot."""
    return bool(side.account.sha256) and session.artifact.kind != "image"


def rewriting(session: Session, target: Path) -> _Write:
    """Return what writes the session's artifact to `target`."""
    artifact, compressor = session.artifact, session.compressor
    if isinstance(artifact, FrozenArtifact):
        return lambda bundle, told: artifact.rewriting(bundle, target, compressor, told)
    return lambda bundle, _: artifact.rewriting(bundle, target, compressor)


def _packing(job: Job, session: Session, target: Path) -> _Write:
    artifact = session.artifact
    if not isinstance(artifact, FrozenArtifact):
        raise ArtifactError(target.name, "cannot be packed into one file: PyInstaller made no executable")
    return lambda bundle, told: artifact.packing(bundle, target, session.compressor, job.config.workers, told)


def left_out(job: Job, outcome: Outcome) -> list[LeftOut]:
    """Return what executables are to say, when they run, of the files that each step dropped; nothing where that is switched off."""
    return [
        LeftOut(
            step=done.stage.name,
            module_remedy=one_line(remedy_of(done.stage, "{path}", "{module}")),
            file_remedy=one_line(remedy_of(done.stage, "{path}", None)),
            paths=tuple(each.path for each in done.changes if each.action == "drop" and each.path not in outcome.bundle),
        )
        for done in (outcome.stages if job.config.settings.runtime_messages else ())
    ]


def _is_lasting(manifest: Manifest, outcome: Outcome) -> bool:
    """Say whether nothing of the moment had a part in it: a finding (a program missing or failing), a program found on the way."""
    failed = any(finding.code == "MB127" for finding in manifest.findings)
    foreign = any(row.kind in (Kind.PE.value, Kind.MACHO.value) for row in manifest.files)
    return not (outcome.findings or failed or manifest.companions or foreign)


def _idle(job: Job) -> list[Finding]:
    advice = "has options but is not in `optimizers`; list it there, or delete them"
    idle = [Finding(code="MB002", message=f"[tool.mlbundle.{name}] {advice}") for name in job.config.idle]
    idle += late_steps(job.stages)
    if job.config.settings.accuracy.wanted and job.inquiry is None:
        message = "[tool.mlbundle.accuracy] measures nothing: no step in `optimizers` is lossy; list one, or delete the table"
        idle.append(Finding(code="MB752", message=message))
    return idle


def _told(config: Config, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings that are not ignored; raises FindingsError where there are any and `strict` is set."""
    told = selected(config.settings, findings)
    if told and config.settings.strict:
        raise FindingsError(told)
    return told


def _manifest(
    job: Job,
    session: Session,
    name: str,
    before: Side,
    after: Side,
    outcome: Outcome,
    findings: tuple[Finding, ...],
    companions: tuple[CompanionRow, ...] = (),
    packed: tuple[PackedRow, ...] = (),
) -> Manifest:
    compressor = session.compressor
    ledger = Ledger(before=before, after=after, stages=outcome.stages, measure=lambda file: compressor.compress(file).compressed_size)
    files = ledger.files()
    steps = ledger.steps(files)
    contents, faults = contents_of(after.bundle, job.inspecting, session.services) if _gives_bytes(session, after) else (after.contents, ())
    removable = after.removable
    if _gives_bytes(session, after):
        removable = removable_of(after.bundle, contents, job.wanted, session.services)
    return Manifest(
        generator=f"hatch-mlbundle {__version__}",
        artifact=ledger.artifact(name, session.artifact.kind),
        tools=job.tools_used(),
        configuration=decisive_settings(job.config),
        steps=steps,
        remainder=ledger.remainder(steps),
        files=files,
        companions=companions,
        findings=(*findings, *_told(job.config, faults)),
        packed=packed,
        details=ledger.details(),
        contents=contents,
        layers=after.layers,
        components=after.components,
        advice=after.advice,
        removable=removable,
    )
