"""Run a command within bounds, and leave no process of it behind, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from hatch_mlbundle.errors import TrialError
from hatch_mlbundle.storage import fatal_storage_error, storage_errors
from hatch_mlbundle.units import format_size

from . import plain

Wrap: TypeAlias = Callable[[Sequence[str]], Sequence[str]]
"""Turns a command's arguments into those of something that runs it: a jail, a tracer."""

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_PATIENCE = 45.0
"""Seconds that the supervisor may take to kill what it watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: the program and its arguments, the folder to run in, the whole environment, and what standard input holds."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    stdin: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a command may do: take `seconds`; write `written` bytes, output and growth of its folder together, files counted in whole
    blocks of 4,096 bytes; have `processes` processes and threads at once.

    No single file, wherever, may be larger than `written`. A folder with more than 50,000 files at the start is not watched.
    """

    seconds: float = 300.0
    written: int = 2 * 10**9
    processes: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended.

    `status` is its exit status, negative for a signal, None where it was ended for the reason in `overrun`. `seconds` are from its
    start to its exit. `peak_memory` is the largest resident set, in bytes, that any one of its processes had that was waited for
    (ru_maxrss, getrusage(2)); never less than some 10 MB, what its parent had. `left` is the number of processes that were still
    there half a second after its exit; they were killed.
    """

    status: int | None
    overrun: str | None
    stdout: Path
    stderr: Path
    seconds: float
    peak_memory: int
    left: int = 0


def run(command: Command, bounds: Bounds, into: Path, wrap: Wrap | None = None) -> Ended:
    """Run a command to its end, or to the first bound; its output goes to the files `stdout` and `stderr` in the folder `into`.

    Once this returns or raises, Ctrl-C included, no process of it is left; on Linux that holds for those, too, that left its session,
    and when this very process is killed. On macOS the processes in its group are ended, and `processes` is not watched; on Windows
    no bound but time is watched while it runs.

    Raises TrialError where the program is not there or cannot be started, StorageError where the output cannot be written.
    """
    check_command(command)
    with storage_errors(into):
        into.mkdir(parents=True, exist_ok=True)
        given = into / "stdin"
        given.write_bytes(command.stdin)
    arguments = list(command.arguments if wrap is None else wrap(command.arguments))
    request = {
        "arguments": arguments,
        "folder": str(command.folder),
        "environment": dict(command.environment),
        "stdin": str(given.absolute()),
        "stdout": str((into / "stdout").absolute()),
        "stderr": str((into / "stderr").absolute()),
        "seconds": bounds.seconds,
        "written": bounds.written,
        "processes": bounds.processes,
    }
    try:
        answer = plain.supervise(request) if sys.platform == "win32" else _supervised(command, request)
    finally:
        with suppress(OSError):
            given.unlink()
    if "error" in answer:
        full = fatal_storage_error(OSError(answer.get("errno") or 0, answer["error"]), into)
        if full:
            raise full
        raise TrialError(f"{_shown(arguments[0])}: cannot be started: {_reason(command, answer)}")
    overrun = _overruns(bounds)[answer["overrun"]] if answer["overrun"] else None
    return Ended(**{**answer, "overrun": overrun}, stdout=into / "stdout", stderr=into / "stderr")


def check_command(command: Command) -> None:
    """Raise TrialError where a command cannot be started, as far as that can be told beforehand."""
    if not command.arguments or not command.arguments[0]:
        raise TrialError("a command needs a program; name one")
    program = command.arguments[0]
    if any("\0" in text for text in (*command.arguments, *command.environment, *command.environment.values())):
        raise TrialError(f"{_shown(program)}: its arguments or variables hold a NUL character; remove it")
    if not command.folder.is_dir():
        raise TrialError(f"{command.folder}: is no folder to run {_shown(program)} in")
    if not os.path.dirname(program):  # noqa: PTH120  # Path("./x") is "x"
        if shutil.which(program, path=command.environment.get("PATH", os.defpath)) is None:
            raise TrialError(f"{_shown(program)}: is not on PATH; install it, or give its path")
        return
    path = command.folder / program
    if not path.exists():
        raise TrialError(f"{path}: is not there; correct the command")
    if shutil.which(path) is None:
        raise TrialError(f"{path}: is no program; make it executable (chmod +x), or name the interpreter that runs it first")


def _supervised(command: Command, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have the supervisor run the command, and return its answer."""
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    requests, answers = _pipes(supervisor)
    try:
        requests.write(json.dumps(request).encode() + b"\n")
        requests.flush()
        line = answers.readline()
    except BrokenPipeError:
        line = b""
    finally:
        _end(supervisor)
    if not line:
        raise TrialError(f"{_shown(command.arguments[0])}: the process that watched it was killed; is there enough memory?")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process was started without its pipes")
    return process.stdin, process.stdout


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    """Let the supervisor kill what it watches, as it does once its standard input ends, and wait for it."""
    requests, answers = _pipes(supervisor)
    with suppress(BrokenPipeError):
        requests.close()
    try:
        supervisor.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
    finally:
        answers.close()


def _overruns(bounds: Bounds) -> dict[str, str]:
    return {
        "seconds": f"took more than {bounds.seconds:g} s",
        "written": f"wrote more than {format_size(bounds.written)}",
        "processes": f"had more than {bounds.processes:,} processes and threads at once",
        "stopped": "was stopped from outside",
    }


def _reason(command: Command, answer: Mapping[str, Any]) -> str:
    """Return why the system did not start a program: for a script it means the interpreter."""
    program = shutil.which(command.folder / command.arguments[0]) or shutil.which(command.arguments[0])
    with suppress(OSError, TypeError):
        with Path(program or "").open("rb") as file:
            first = file.readline(200)
        if first.startswith(b"#!"):
            return f"its interpreter {first[2:].decode(errors='replace').strip()}: {answer['error']}"
    return str(answer["error"])


def _shown(text: str) -> str:
    """Return a text without what would break the line that it is told in."""
    return text if text.isprintable() else ascii(text)
