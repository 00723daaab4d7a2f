"""The proof that an artifact still works, by the commands in the configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from .atomic import make_folder
from .bundles.images.writable import WritableImage
from .errors import ConfigurationError
from .job import Job
from .model import Bundle, Finding
from .models.left_models import models_folder
from .session import Session
from .trials.bundle_files import bundle_mounts
from .trials.jail import jail
from .trials.mounts import Mount
from .trials.process import Wrap
from .trials.python_files import python_mounts
from .verification.judged import Proof, Trust
from .verification.runner import Runner, title
from .verification.subject import Subject, folder_subject, image_subject, wheel_subject
from .verification.traced import tracer
from .verification.verify import Verifying
from .verify_settings import VerifySettings

_PLACEHOLDERS = ("bundle", "python")


def start_proof(job: Job, session: Session, path: Path | None, name: str, before: Bundle) -> Proof:
    """Lay out the artifact and run the commands on it as it is; raises VerificationError where one fails there.

    `path` is where the artifact lies, `name` what it will be called.
    """
    if path is None or session.artifact.on_disk(before) is None:
        return Trust((Finding(code="MB605", message="was not verified: the bundle is still to be collected; verify the finished one"),))
    runner = open_runner(job, session, path, name, before)
    return Verifying.start(runner, before, tracer(runner), session.services.progress)


def open_runner(job: Job, session: Session, path: Path, name: str, before: Bundle) -> Runner:
    """Make ready to run the configured commands on the artifact at `path`, laid out as `name`, and on what becomes of it.

    Raises ConfigurationError, VerificationError.
    """
    settings = job.config.settings.verify
    subject = _subject(session, path, name, before, settings)
    neighbour = models_folder(path.absolute())
    subject.neighbour = neighbour if neighbour.is_dir() else None
    _check_placeholders(settings, subject)
    folder = session.services.workspace.new_folder()
    runner = Runner(settings=settings, subject=subject, project=job.project.absolute(), folder=folder)
    if settings.jail and subject.root is None:
        runner.clean_root = _clean_root(subject, runner, session)
    return runner


def _subject(session: Session, path: Path, name: str, before: Bundle, settings: VerifySettings) -> Subject:
    folder, pool = session.services.workspace.new_folder(), session.services.pool
    if session.artifact.kind == "wheel":
        return wheel_subject(session.artifact, path, before, settings, folder, pool)
    if isinstance(session.artifact, WritableImage):
        return image_subject(session.artifact, before, folder, pool)
    return folder_subject(session.artifact, name, folder, pool)


def _clean_root(subject: Subject, runner: Runner, session: Session) -> Callable[[str | None], Wrap]:
    """Return what makes a jail that sees the artifact, the project and the work folder, and one more folder to write to."""
    make_folder(runner.work)

    @cache
    def made(writable: str | None) -> Wrap:
        """Look at the bundle only now that it is laid out, which says what its bootloader needs."""
        seen = [*bundle_mounts(subject.stand.root), Mount.of(runner.project), Mount.of(runner.work, writable=True)]
        seen += [Mount.of(folder) for folder in (subject.models.root, subject.neighbour) if folder]
        if subject.environment:
            seen += [Mount.of(subject.environment.folder), *python_mounts(subject.environment.python)]
        more = [Mount.of(Path(writable), writable=True)] if writable else []
        return jail([*seen, *more], session.services.workspace.new_folder())

    return made


def _check_placeholders(settings: VerifySettings, subject: Subject) -> None:
    faults = [
        f"tool.mlbundle.verify: {title(command)!r} names {{{name}}}, which only wheels have"
        for command in settings.commands
        for name in _PLACEHOLDERS
        if name not in subject.places and any(f"{{{name}}}" in text for text in (*command.run, *command.environment))
    ]
    if faults:
        raise ConfigurationError(faults)
