"""How each command is declared: its sentence, its groups of options, its examples and exit codes, and the options that several share."""

from __future__ import annotations

import argparse
import math
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

Action: TypeAlias = Callable[[argparse.Namespace], None]
"""What a command does with its parsed options."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no other name
"""Where a command adds its parser."""

SUBJECT = "a manifest, a wheel, a frozen bundle, a one-file executable, a container image or any folder"
"""What the commands that only look take."""

ARTIFACT = "a wheel, a frozen bundle, any folder, or a container image"
"""What the commands that change something take."""

_WIDEST = 100
_NARROWEST = 40
_SHORT = 24


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Fills lines to the terminal's width, up to 100 columns, and leaves what is laid out by hand as it is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_SHORT, width=help_width())


def help_width() -> int:
    """Return the columns that help may take."""
    return max(_NARROWEST, min(shutil.get_terminal_size().columns - 2, _WIDEST))


def add_command(
    commands: Commands, name: str, run: Action, sentence: str, *, examples: Mapping[str, str], exits: Sequence[str] = (), usage: str = ""
) -> argparse.ArgumentParser:
    """Add a command that `run` carries out, and return its parser.

    `sentence` says what it does, `examples` are command lines, each with what it is for, and `exits` say what each exit code means.
    """
    parser = commands.add_parser(
        name,
        help=sentence,
        description=textwrap.fill(sentence, help_width()),
        epilog=_epilog(examples, exits),
        usage=usage or None,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _epilog(examples: Mapping[str, str], exits: Sequence[str]) -> str:
    lines = ["examples:"]
    for line, purpose in examples.items():
        lines += [f"  {line}", _indented(purpose)]
    if exits:
        lines += ["", "exit codes:", *(_hanging(f"{code}  {meaning}") for code, meaning in enumerate(exits) if meaning)]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return textwrap.fill(text, help_width(), initial_indent=" " * 6, subsequent_indent=" " * 6)


def _hanging(text: str) -> str:
    return textwrap.fill(text, help_width(), initial_indent="  ", subsequent_indent=" " * 5)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add where reports go, and how long they are."""
    reports = parser.add_argument_group("reports")
    reports.add_argument("--html", type=report, metavar="FILE", help="write the interactive report: one file that needs nothing else")
    reports.add_argument("--markdown", type=report, metavar="FILE", help="write it for a pull request or a job's summary; - prints it")
    add_json(reports, "everything in exact numbers, as JSON")
    add_top(reports, "rows of each table")


def add_json(parser: argparse._ActionsContainer, what: str = "the same as JSON") -> None:
    """Add the option that asks for JSON on standard output."""
    parser.add_argument("--json", action="store_true", help=what)


def add_top(parser: argparse._ActionsContainer, what: str) -> None:
    """Add how many rows to show."""
    parser.add_argument("--top", type=count, default=10, metavar="N", help=f"{what} (default 10)")


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add which steps run, and how, with the project whose configuration counts."""
    work = parser.add_argument_group("work")
    work.add_argument(
        "-O", "--optimizer", action="append", dest="optimizers", metavar="NAME", help="run this one (may be repeated, in this order)"
    )
    work.add_argument("--workers", type=int, metavar="N", help="threads that work at once (default: one a core)")
    work.add_argument("--no-cache", action="store_true", help="do everything anew")
    add_project_options(work)


def add_project_options(parser: argparse._ActionsContainer) -> None:
    """Add which project's configuration counts, and whether to be quiet."""
    parser.add_argument("--project", type=Path, metavar="FOLDER", help="the project whose pyproject.toml counts (default: the nearest)")
    add_quiet(parser)


def add_quiet(parser: argparse._ActionsContainer) -> None:
    """Add the option that leaves out what went well."""
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")


def report(text: str) -> Path:
    """Return where a report goes; another name of standard output is `-`, so that nothing takes the place of the device."""
    return Path("-" if text == "/dev/stdout" else text)


def count(text: str) -> int:
    """Return a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def positive(text: str) -> int:
    """Return a whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """Return a time in seconds, more than none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value
