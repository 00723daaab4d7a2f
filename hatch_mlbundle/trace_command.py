"""`mlbundle trace`; what it does is apart from commands.py, whose imports take as long as many a run that is traced."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .command_options import Commands, add_command, add_quiet
from .errors import ProfileError, TraceError
from .profile import FILE_NAME, Profile, load_profile
from .units import format_size

if TYPE_CHECKING:
    from .tracing.trace import Traced


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "trace",
        trace_run,
        "Run a command, and add the files of its application that it uses to a profile, by which the step prune_unused drops the others.",
        examples={
            "mlbundle trace -- dist/app/app --help": f"a run of a frozen bundle, into {FILE_NAME}",
            "mlbundle trace --package packaging -- python -c 'import packaging.version'": "a run of a Python; one distribution counts",
        },
        exits=("the profile was written", "the command failed: its own exit code, whatever it is", "wrong use or input"),
        usage="mlbundle trace [options] -- PROGRAM [ARGUMENT ...]",
    )
    parser.add_argument(
        "command", nargs="+", metavar="PROGRAM [ARGUMENT ...]", help="what to run: a program of a one-folder bundle, or a Python"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="PROFILE", default=Path(FILE_NAME), help=f"the profile (default {FILE_NAME})")
    parser.add_argument(
        "--package", action="append", default=[], metavar="NAME", help="of a Python: this distribution counts (may be repeated)"
    )
    parser.add_argument("--allow-failure", action="store_true", help="let the run count even where the command fails")
    add_quiet(parser)


def trace_run(options: argparse.Namespace) -> None:
    """Run a command, unite what it used with the profile, and exit as the command did."""
    from .tracing.through import exit_code
    from .tracing.trace import trace

    path: Path = options.output
    before = _before(path)
    traced = trace(options.command, tuple(options.package))
    status = exit_code(traced.passed.status)
    if status and not options.allow_failure:
        how = "was interrupted" if traced.passed.interrupted else f"failed (exit status {status})"
        _say(f"the command {how}: {path} stays as it was; --allow-failure lets a run count that fails")
    elif not traced.profile.used:
        raise TraceError(f"{options.command[0]}: used none of the {len(traced.profile.inventory):,} files; is it the application you mean?")
    else:
        after = before.united(traced.profile).within(traced.sizes)
        after.save(path)
        _tell(options, traced, before, after)
    if status:
        sys.exit(status)


def _before(path: Path) -> Profile:
    """Return the profile that there is, an empty one where there is none; raises ProfileError."""
    if not path.exists():
        if not path.parent.is_dir():
            raise ProfileError(f"{path}: there is no folder {path.parent}; create it first")
        return Profile()
    return load_profile(path)


def _tell(options: argparse.Namespace, traced: Traced, before: Profile, after: Profile) -> None:
    if traced.missed:
        _say(f"warning: the profile is incomplete: {traced.missed}")
    if traced.passed.left:
        _say(f"warning: the command left {traced.passed.left} processes behind; they were ended")
    gone = len(before.inventory - after.inventory)
    if gone:
        _say(f"{gone:,} files of the profile are no longer in the application, and left it")
    if not options.quiet:
        needed = after.used | after.asked
        more = len(needed - before.used - before.asked)
        counts = f"{len(needed):,} of {len(after.inventory):,} files used (+{more:,} by this run)"
        _say(f"profile: {counts}, {_part(sum(traced.sizes[path] for path in needed), sum(traced.sizes.values()))}")


def _part(size: int, whole: int) -> str:
    """Return two sizes, the unit of the first left out where it is that of the second."""
    first, second = format_size(size), format_size(whole)
    unit = second.partition(" ")[2]
    return f"{first.removesuffix(f' {unit}')} of {second}"


def _say(text: str) -> None:
    print(f"mlbundle: {text}", file=sys.stderr)  # noqa: T201
