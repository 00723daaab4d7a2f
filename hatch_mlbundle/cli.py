"""The command `mlbundle`. Results go to standard output, progress and faults to standard error."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import textwrap
import threading
from collections.abc import Sequence
from importlib import import_module

from . import __version__, crash
from .command_options import HelpFormatter, help_width
from .errors import MlbundleError
from .standard_output import discard_output

COMMANDS = {
    "make small": {
        "init": "write a configuration that fits a project or an artifact",
        "plan": "say what optimize would do, and why; change nothing",
        "optimize": "make wheels, frozen bundles, folders or container images small",
        "explore": "make and try every choice: size, start, memory, works or not",
        "trace": "record which files a run uses, for prune_unused to drop the rest",
    },
    "look and compare": {
        "analyze": "show what takes the space, and which steps would save some",
        "compare": "show how one artifact differs from another",
        "measure": "measure a command's time from start to exit, and its memory",
    },
    "prove": {
        "check": "hold an artifact against [tool.mlbundle.budget]",
        "verify": "prove that an artifact is the one a manifest describes",
        "rebuild": "build a project twice, and name the first difference",
    },
    "set up": {
        "plugins": "list the optimizers that there are, with their options",
        "models": "list, fetch, check or prune models that lie outside artifacts",
        "cache": "show how much the cache of results holds, or empty it",
        "completion": "print what lets bash, zsh or fish complete all of this",
    },
}
"""Every command with its line in the list, by what a person wants; `x` is declared by `add_to` of x_command.py when it is named."""

_COLLECTED = 1_000_000
"""Objects made between two collections of garbage: syntax trees are many, and looking for cycles in them takes a fifth of the time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 a finding or a limit failed, 2 wrong use or input, 3 our bug."""
    _end_on_termination()
    gc.set_threshold(_COLLECTED)
    try:
        options = _parsed(sys.argv[1:] if arguments is None else arguments)
        options.run(options)
    except MlbundleError as error:
        _complain(error.told())
        return error.exit_code
    except KeyboardInterrupt:
        _complain("mlbundle: interrupted")
        return crash.INTERRUPTED
    except BrokenPipeError:
        discard_output()
    except Exception as error:
        _complain(crash.report(error))
        return crash.EXIT_CODE
    return 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; of `explore`, those behind `--` are a command, which argparse would take options out of the midst of."""
    own, command = list(arguments), []
    if own[:1] == ["explore"] and "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    options = _named_parser(own).parse_args(own)
    if own[:1] == ["explore"]:
        options.command = command
    return options


def _end_on_termination() -> None:
    """Let SIGTERM, which continuous integration sends, end the work as Ctrl-C does: with everything tidied up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(crash.TERMINATED))


def _complain(message: str) -> None:
    from rich.console import Console  # costs 40 ms, and most runs need none

    Console(stderr=True, highlight=False, soft_wrap=True).print(message, style="red", markup=False)


def build_parser(*names: str) -> argparse.ArgumentParser:
    """Return the parser of the command line, in which these commands are declared."""
    parser = argparse.ArgumentParser(
        prog="mlbundle",
        usage="mlbundle [-h] [--version] COMMAND ...",
        description=textwrap.fill("Make wheels and frozen bundles of ML applications small, and account for every byte.", help_width()),
        epilog=_listing(),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mlbundle {__version__}")
    commands = parser.add_subparsers(prog="mlbundle", metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    for name in names:
        import_module(f".{name}_command", __package__).add_to(commands)
    return parser


def command_names() -> list[str]:
    """Return the name of every command."""
    return [name for group in COMMANDS.values() for name in group]


def _named_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser in which the command that the arguments name is declared, and no other: each costs time."""
    named = next((each for each in arguments if not each.startswith("-")), None)
    if named is None:
        return build_parser()
    if named not in command_names():
        from .schema import suggestion

        build_parser().error(f"there is no command {named!r}{suggestion(named, command_names())}")
    return build_parser(named)


def _listing() -> str:
    lines = []
    for title, group in COMMANDS.items():
        lines += [f"{title}:", *(f"  {name:<11}{line}" for name, line in group.items()), ""]
    return "\n".join([*lines, "`mlbundle COMMAND --help` tells a command's options, with examples."])
