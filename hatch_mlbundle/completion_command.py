"""`mlbundle completion`: what a shell has to know to complete commands, options, files and optimizers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .command_options import Commands, add_command, report
from .standard_output import standard_output

SHELLS = ("bash", "zsh", "fish")

_OPTIMIZERS = "mlbundle plugins --names"
"""Asked when a name is completed: which optimizers there are depends on what is installed."""

_ZSH = f"""_mlbundle_optimizers() {{
  compadd -- ${{(f)"$({_OPTIMIZERS})"}}
}}"""
"""What stands in an option's specification itself, zsh would run when it reads the script, once for each command."""


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "completion",
        complete,
        "Print the script with which a shell completes commands, options, files and the names of optimizers.",
        examples={
            "mlbundle completion bash > mlbundle.bash": "`source` it, in ~/.bashrc for good; docs/completion.md says where shells look",
        },
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read it")


def complete(options: argparse.Namespace) -> None:
    """Print the script for a shell."""
    import shtab

    with standard_output():
        sys.stdout.write(shtab.complete(completed_parser(), shell=options.shell).rstrip() + "\n")


def completed_parser() -> argparse.ArgumentParser:
    """Return the parser with every command, in which each argument says how it is completed."""
    from .cli import COMMANDS, build_parser, command_names

    root = build_parser(*command_names())
    (commands,) = (each for each in root._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001 - as shtab reads them
    commands.help = "what to do"
    for group in COMMANDS.values():
        for name, line in group.items():
            parser = commands.choices[name]
            parser.description = line
            for action in parser._actions:  # noqa: SLF001
                if how := _completion(action):
                    action.complete = how
    return root


def _completion(action: argparse.Action) -> Any:
    """Return what shtab completes an argument with, None where its choices or nothing do."""
    import shtab

    if action.dest == "optimizers":
        asked: dict[str, Any] = shtab.cmd(_OPTIMIZERS)
        return {**asked, "zsh": "_mlbundle_optimizers", "preamble": {**asked["preamble"], "zsh": _ZSH}}
    if action.dest == "project":
        return shtab.DIRECTORY
    if action.type in (Path, report) or action.dest in ("command", "against"):
        return shtab.FILE
    return None
