"""`[tool.mlbundle.verify]`: the commands that prove that an artifact still works, and what counts as the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .optimizer import option
from .schema import Glob, Size

OnFailure: TypeAlias = Literal["revert", "error"]
"""What happens when the small artifact behaves otherwise: the guilty files are put back, or the build fails."""

Sameness: TypeAlias = Literal["equal", "numeric", "ignore"]
"""When two outputs count as the same: byte for byte; with every number within the tolerances; always."""


@dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """One command that is run on the artifact before and after."""

    name: str = option("What findings and reports call it; empty means the arguments themselves.", default="")
    run: tuple[str, ...] = option(
        "The program and its arguments. `{bundle}` is the frozen bundle's folder, `{python}` the Python of a fresh virtual environment "
        "with the wheel, `{project}` the project's folder, `{work}` an empty folder, in which it runs.",
        default=(),
    )
    stdin: str = option("Text that it reads from standard input.", default="")
    environment: tuple[str, ...] = option('Variables to set, as "NAME=value", with the same placeholders.', default=())
    exit_code: int = option("The exit status that it ends with.", default=0)
    output: Sameness = option("How its output is compared: `equal`, `numeric` (within the tolerances) or `ignore`.", default="equal")
    relative_tolerance: float = option("By how much a number may differ, as a share of the larger one.", default=1e-5)
    absolute_tolerance: float = option("By how much a number may differ in any case.", default=1e-8)
    comparator: tuple[str, ...] = option(
        "A program of your own that compares instead, exit code 0 for the same; `{before}` and `{after}` are folders with `stdout`, "
        "`stderr` and, under `files`, the files written.",
        default=(),
    )
    files: tuple[Glob, ...] = option("Globs of the files that it writes into `{work}`, compared like the output.", default=())
    timeout: float = option("Seconds it may take; 0 means those of `verify.timeout`.", default=0.0)


@dataclass(frozen=True, kw_only=True)
class VerifySettings:
    """How an artifact is verified; without commands it is not."""

    commands: tuple[VerifyCommand, ...] = option("The commands, each a table.", default=())
    on_failure: OnFailure = option(
        "`revert` puts the files back that make a command behave otherwise; `error` fails the build, and names them.",
        default="revert",
    )
    jail: bool = option(
        "Whether commands run in a clean root that holds little but the C library, so that a library of this machine cannot hide a missing "
        "one (Linux).",
        default=False,
    )
    timeout: float = option("Seconds a command may take before it is ended with all that it started.", default=300.0)
    max_written: Size = option("Bytes a command may write, output and files together.", default=2 * 10**9)
    max_processes: int = option("Processes and threads a command may have at once.", default=2000)
    max_runs: int = option("Runs of commands that the search for guilty files may take.", default=100)
    repeat: int = option("How often each command is run to measure its time and memory; the median counts.", default=1)
    each_step: bool = option("Whether the artifact is verified and measured after every step, not only at the end.", default=False)
    requirements: tuple[str, ...] = option("Further distributions that the virtual environment for a wheel needs.", default=())


def range_faults(settings: VerifySettings, path: str) -> Iterator[str]:
    """Yield a line for every value that cannot be, with its TOML path below `path`."""
    for key, value, least in (
        ("timeout", settings.timeout, 0.1),
        ("max-written", settings.max_written, 1),
        ("max-processes", settings.max_processes, 1),
        ("max-runs", settings.max_runs, 1),
        ("repeat", settings.repeat, 1),
    ):
        if value < least:
            yield f"{path}.{key}: must be {least} or more, not {value}"
    for position, command in enumerate(settings.commands):
        yield from _command_faults(command, f"{path}.commands[{position}]")


def _command_faults(command: VerifyCommand, path: str) -> Iterator[str]:
    if not command.run or not command.run[0]:
        yield f"{path}.run: must name a program, like ['{{bundle}}/app', '--version']"
    for position, each in enumerate(command.environment):
        if not each.partition("=")[0] or "=" not in each:
            yield f"{path}.environment[{position}]: must be like 'NAME=value', not {each!r}"
    for key, value in (
        ("relative-tolerance", command.relative_tolerance),
        ("absolute-tolerance", command.absolute_tolerance),
        ("timeout", command.timeout),
    ):
        if not value >= 0:
            yield f"{path}.{key}: must be 0 or more, not {value}"
