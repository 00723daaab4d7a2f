"""`mlbundle rebuild`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .command_options import Commands, add_command, add_json, add_quiet, seconds
from .errors import ConfigurationError, NotReproducibleError
from .standard_output import standard_output

if TYPE_CHECKING:
    from .rebuilding.building import Target


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "rebuild",
        rebuild,
        "Build a project twice, in surroundings that differ in all that must not matter, and name the first difference.",
        examples={
            "mlbundle rebuild --check": "sdist and wheel of the current folder, and the frozen application where one is configured",
            "mlbundle rebuild --check --why -t wheel": "build some more times, to find what makes the difference",
            "mlbundle rebuild --against app-1.0-py3-none-any.whl app-1.0.tar.gz": "is this wheel what this sdist gives?",
        },
        exits=("everything is the same", "something differs", "wrong use, or the project cannot be built"),
    )
    parser.add_argument(
        "project", type=Path, nargs="?", default=Path(), help="the project's folder, or an sdist (default: the current folder)"
    )
    parser.add_argument("--check", action="store_true", help="build twice, and compare")
    parser.add_argument("--against", type=Path, metavar="ARTIFACT", help="compare with this finished wheel, sdist or frozen bundle")
    parser.add_argument(
        "-t", "--target", action="append", choices=("sdist", "wheel", "frozen"), help="build this alone (may be repeated; default: all)"
    )
    parser.add_argument(
        "--why", action="store_true", help="where something differs, build again with less and less varied, to find the cause"
    )
    parser.add_argument(
        "--isolated", action="store_true", help="let each build install what it needs, instead of using what is installed here"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave what each build made there, for a tool such as diffoscope")
    parser.add_argument("--timeout", type=seconds, default=3600.0, metavar="S", help="seconds that a build may take (default 3600)")
    add_json(parser)
    add_quiet(parser)


def rebuild(options: argparse.Namespace) -> None:
    """Build a project again, and say whether the same comes of it; raises NotReproducibleError where it does not."""
    if not (options.check or options.against):
        raise ConfigurationError(["mlbundle rebuild: needs --check, to build twice, or --against ARTIFACT, to compare with a finished one"])
    from .invocation import progress_of
    from .rebuilding.rebuild import Request
    from .rebuilding.rebuild import rebuild as carry_out
    from .reports.rebuilds import rebuild_fault, rebuild_report

    request = Request(
        project=options.project,
        targets=_targets(options),
        twice=options.check,
        against=options.against,
        isolated=options.isolated,
        why=options.why,
        keep=options.keep,
        seconds=options.timeout,
    )
    with progress_of(options) as progress:
        verdict = carry_out(request, progress)
    with standard_output():
        if options.json:
            sys.stdout.write(json.dumps({"reproducible": verdict.reproducible, **asdict(verdict)}, indent=2) + "\n")
        elif not options.quiet:
            sys.stdout.write(rebuild_report(verdict, options.against))
    if not verdict.reproducible:
        raise NotReproducibleError(rebuild_fault(verdict))


def _targets(options: argparse.Namespace) -> tuple[Target, ...]:
    """Return what is to be built: what is asked for, what the finished artifact is, else all that makes up a release."""
    from .adapters.project import has_frozen_target
    from .invocation import check_path

    check_path(options.project)
    against: Path | None = options.against
    if options.target:
        return tuple(dict.fromkeys(options.target))
    if against is None:
        return ("sdist", "wheel", *(("frozen",) if has_frozen_target(options.project) else ()))
    if not against.exists():
        raise ConfigurationError([f"--against: {against}: does not exist; name a finished artifact"])
    return ("wheel",) if against.suffix == ".whl" else ("sdist",) if against.name.endswith(".tar.gz") else ("frozen",)
