"""External programs: find them, ask their version, run them; every failure is one line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import MissingProgramError, ProgramError

_INHERITED = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "DEVELOPER_DIR")
_VERSION_SECONDS = 30.0
_LONGEST_LINE = 300


@dataclass(frozen=True, slots=True)
class Program:
    """A program on this machine: the name it was asked for by, and where it is."""

    name: str
    path: Path

    def version(self) -> str:
        """Return the first line with a number of `--version`, "unknown" where it has none; raises ProgramError when it hangs.

        The first line would not do: llvm-strip's says "compatible with GNU strip", and only the next one the version.
        """
        result = _start(self, ["--version"], _VERSION_SECONDS)
        lines = (result.stdout or result.stderr).splitlines() if result.returncode == 0 else []
        return next((_clean(line) for line in lines if any(map(str.isdigit, line))), "unknown")

    def run(self, arguments: Sequence[str | Path], *, seconds: float = 600.0, folder: Path | None = None) -> str:
        """Run it to its end and return its standard output; raises ProgramError on failure, crash, or after `seconds`.

        It gets no standard input, messages in English, and none of the environment beyond what finds files and programs.
        """
        result = _start(self, arguments, seconds, folder)
        if result.returncode < 0:
            raise ProgramError(f"{self.name}: was killed by {_signal_name(-result.returncode)}")
        if result.returncode:
            message = _clean(_last_line(result.stderr) or _last_line(result.stdout)) or "no message"
            raise ProgramError(f"{self.name}: failed with exit status {result.returncode}: {message}")
        return result.stdout


def find_program(name: str, *, wanted_by: str, install: str) -> Program:
    """Return the program of this name on PATH; raises MissingProgramError.

    `wanted_by` is the option that names it, such as `strip.tool = "llvm"`; `install` says how to get it, such as
    `apt-get install llvm`.
    """
    program = look_for_program(name)
    if program is None:
        raise MissingProgramError(f"{name}: is not on PATH, and {wanted_by} needs it; install it ({install}) or change the option")
    return program


def look_for_program(*names: str) -> Program | None:
    """Return the first of these programs that is on PATH, or None."""
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return Program(name, Path(found))
    return None


def _start(
    program: Program, arguments: Sequence[str | Path], seconds: float, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [str(program.path), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
            cwd=folder,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{program.name}: was stopped after {seconds:g} seconds") from error
    except OSError as error:
        raise ProgramError(f"{program.name}: cannot be started: {error.strerror or error}") from error


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "LC_ALL": "C", "LANGUAGE": "C"}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _clean(line: str) -> str:
    """Return the line without control characters and runs of blanks, cut where it is absurdly long."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", line).strip()[:_LONGEST_LINE]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
