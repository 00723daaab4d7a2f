"""Run a command as if it had been started without us: its input, output and exit status are those that it would have."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import TraceError

_PATIENCE = 5.0
"""Seconds for a command to end by itself after Ctrl-C, and again after SIGTERM."""
_GRACE = 0.5
"""Seconds for what a command left behind to end by itself."""
_STEP = 0.01
_PROCESSES = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A command that ended: its exit status, negative for a signal, start to exit in seconds, how many processes it left behind.

    After Ctrl-C, `interrupted`, the status may still be 0: servers are ended like that.
    """

    status: int
    seconds: float
    interrupted: bool
    left: int


def run_through(arguments: Sequence[str], environment: Mapping[str, str], mark: str) -> Passed:
    """Run a command to its end in the current folder, with our standard streams.

    `mark` is the name of a variable in `environment` whose value no other process has: what is left behind when the command ended,
    or when anything is raised here, is known by it (on Linux) and killed. Raises TraceError where the command cannot be started.
    """
    start = time.perf_counter()
    interrupted = False
    try:
        process = subprocess.Popen(arguments, env=environment)
    except OSError as error:
        raise TraceError(f"{arguments[0]}: cannot be started: {error.strerror}") from error
    try:
        try:
            process.wait()
        except KeyboardInterrupt:  # the terminal told the command as well
            interrupted = True
            process.wait(_PATIENCE)
        seconds = time.perf_counter() - start
    except subprocess.TimeoutExpired:
        seconds = time.perf_counter() - start
    finally:
        _end(process)
        left = _kill_left(f"{mark}={environment[mark]}")
    return Passed(status=process.returncode, seconds=seconds, interrupted=interrupted, left=left)


def exit_code(status: int) -> int:
    """Return what a shell makes of a status."""
    return status if status >= 0 else 128 - status


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except BaseException:
            process.kill()
            process.wait()
            raise


def _kill_left(mark: str) -> int:
    end = time.monotonic() + _GRACE
    while left := list(_marked(os.fsencode(mark))):
        if time.monotonic() > end:
            for number in left:
                with suppress(OSError):
                    os.kill(number, signal.SIGKILL)
            return len(left)
        time.sleep(_STEP)
    return 0


def _marked(mark: bytes) -> Iterator[int]:
    """Yield the processes that have the mark in their environment (proc(5), environ), zombies aside: those have none."""
    for process in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to somebody else
            if mark in (process / "environ").read_bytes().split(b"\0"):
                yield int(process.name)
