"""`mlbundle init`: look at a project or an artifact, and write a configuration that fits."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .command_options import Commands, add_command, add_project_options
from .errors import ConfigurationError, StorageError
from .printable import printable

if TYPE_CHECKING:
    from .initial.artifact import Artifact
    from .initial.project import Project
    from .initial.proposal import Proposal


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "init",
        init,
        "Look at a project (its build back end, its scripts, what it needs, whether it is frozen) or at a finished artifact, and write "
        "[tool.mlbundle] into pyproject.toml, with comments. All else in the file stays as it is, byte for byte.",
        examples={
            "mlbundle init --print": "show what would be written for the project around",
            "mlbundle init dist/*.whl": "with the figures of a wheel: what each step saves, and a budget",
        },
        exits=("written, or printed", "", "there is a [tool.mlbundle] already (what would be added is printed), or wrong use or input"),
    )
    parser.add_argument(
        "subject",
        type=Path,
        nargs="?",
        metavar="project-or-artifact",
        help="the folder of a project (default: the nearest), or an artifact",
    )
    parser.add_argument("--print", "--dry-run", dest="only_print", action="store_true", help="write nothing: print what would be added")
    parser.add_argument("--replace", action="store_true", help="put it in the place of the [tool.mlbundle] that there is")
    add_project_options(parser)
    parser.set_defaults(suggest=True)


def init(options: argparse.Namespace) -> None:
    """Write the configuration, or print it; raises MlbundleError."""
    from .config import read_config
    from .initial.project import read_project
    from .initial.proposal import propose
    from .initial.toml_file import configuration
    from .plugins import load_registry

    folder, path = _subject(options)
    project = read_project(folder)
    artifact = _artifact(path, options) if path else None
    registry = load_registry()
    proposal = propose(project, artifact, registry)
    if options.only_print:
        _print(_shown(proposal))
        return
    _refuse_configured(project, proposal, replace=options.replace)
    text = _text(project, proposal)
    read_config(configuration(text), registry.option_types())
    _write(project.path, text)
    if not options.quiet:
        what = f"build-system.requires has {proposal.requirement}, " if proposal.requirement else ""
        _print(
            f"{_near(project.path)}: {what}[tool.mlbundle] is written\n" + "".join(f"next: {printable(note)}\n" for note in proposal.notes)
        )


def _subject(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """Return the project's folder, and the artifact to look at, None where a project is named; raises ConfigurationError."""
    from .initial.project import is_project
    from .invocation import check_path, project_of

    named: Path | None = options.subject
    if named:
        check_path(named)
        if not (named.is_dir() and is_project(named)):
            return project_of(options), named
    folder = named or project_of(options)
    if not is_project(folder):
        raise ConfigurationError([f"{_near(folder)}: has no pyproject.toml, setup.py or spec file; name a project's folder or an artifact"])
    return folder, None


def _artifact(path: Path, options: argparse.Namespace) -> Artifact:
    from .initial.artifact import read_artifact
    from .subjects import load_subject

    return read_artifact(load_subject(path, options).manifest)


def _refuse_configured(project: Project, proposal: Proposal, *, replace: bool) -> None:
    """Print what would be added, and raise ConfigurationError, where there is a configuration that nobody asked to replace."""
    from .config import TABLE

    configured = project.configured
    if configured and not (replace and configured == TABLE):
        _print(_shown(proposal))
        how = "--replace puts it there" if configured == TABLE else f"move its keys to [{TABLE}], or remove it"
        raise ConfigurationError([f"{_near(project.path)}: has [{configured}] already; what would be added is printed; {how}"])


def _text(project: Project, proposal: Proposal) -> str:
    """Return the file's new text; raises ConfigurationError where something else would change in it."""
    from .config import TABLE
    from .initial.toml_file import added, without_table

    text = project.text or ""
    if project.configured == TABLE:
        text = without_table(text)
    return added(text, proposal.requirement, proposal.tables)


def _write(path: Path, text: str) -> None:
    """Put the text in place in one step, through a link, too; raises StorageError, also for a file that is marked read-only."""
    from .atomic import replace_atomically
    from .invocation import real_path

    path = real_path(path)
    if path.exists() and not os.access(path, os.W_OK):
        raise StorageError(f"cannot write {_near(path)}: it is read-only; make it writable first")
    with replace_atomically(path) as stream:
        stream.write(text.encode())


def _near(path: Path) -> str:
    """Return a path as a person reads it best: from the current folder where it lies in it."""
    with suppress(FileNotFoundError, ValueError):  # the current folder is gone, or the path lies elsewhere
        path = path.relative_to(Path.cwd())
    return printable(str(path))


def _shown(proposal: Proposal) -> str:
    requirement = f'# build-system.requires gets "{proposal.requirement}"\n\n' if proposal.requirement else ""
    return requirement + proposal.tables


def _print(text: str) -> None:
    from .standard_output import standard_output

    with standard_output():
        sys.stdout.write(text)
