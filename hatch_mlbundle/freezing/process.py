"""Run a Python program as a process of its own, hear what it says line by line, and never leave it behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PASSED = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "DEVELOPER_DIR", "LD_LIBRARY_PATH"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"),
)
"""What finds files and programs. Everything else might change the result without anybody knowing."""

_FIXED = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "C",
    "TZ": "UTC",
    "COLUMNS": "500",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What decides the order of things, or is read by libraries that PyInstaller's hooks import."""

_EPOCH = "1580601600"
"""SOURCE_DATE_EPOCH where none is set: hatch's own."""

_UMASK = 0o022
"""Modes of files are the same for everybody."""

_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2): the signal for when the process that started this one is gone."""

_PATIENCE = 5.0
"""Seconds for a process to tidy up before it is killed."""


def clean_environment(paths: Sequence[Path], config: Path, more: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment for PyInstaller: nothing of the user's but what finds files, and the variables named in `more`.

    `paths` are the folders to import from before all others; `config` is where PyInstaller keeps what it caches.
    """
    passed = {name: os.environ[name] for name in (*_PASSED, *more) if name in os.environ}
    if "LD_LIBRARY_PATH" not in more:
        passed["LD_LIBRARY_PATH"] = _of_this_python(passed.get("LD_LIBRARY_PATH", ""))
    return {
        **passed,
        **{name: value for name, value in _FIXED.items() if name not in more},
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or _EPOCH,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYINSTALLER_CONFIG_DIR": str(config),
    }


def run_python(
    arguments: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str], log: Path, hear: Callable[[str], None]
) -> int:
    """Run this Python with these arguments in `folder`; return its exit status, negative for the signal that ended it.

    Each line of its output is added to the file `log` and told to `hear`. Whatever is raised meanwhile, Ctrl-C above all, ends
    the process with all that it started.
    """
    with log.open("a", buffering=1, encoding="utf-8", errors="backslashreplace") as kept:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            env=environment,
            cwd=folder,
            umask=_UMASK,
            start_new_session=True,
            preexec_fn=_dying_with_us(),
        )
        with process:
            try:
                for line in process.stdout or ():
                    kept.write(line)
                    hear(line.rstrip())
            except BaseException:
                _end(process)
                raise
    return process.returncode


def _of_this_python(searched: str) -> str:
    """Return the folders of an LD_LIBRARY_PATH that belong to this Python: without them it may not start."""
    base = Path(sys.base_prefix)
    return os.pathsep.join(folder for folder in searched.split(os.pathsep) if folder and Path(folder).is_relative_to(base))


def _dying_with_us() -> Callable[[], object] | None:
    """Return what lets a process about to start be killed when this one is; None where the system has no such thing."""
    if sys.platform != "linux":
        return None
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # a C library without it
        return None
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those it started, gently at first."""
    _signal(process, signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if os.name == "posix":
            _signal(process, signal.SIGKILL)  # what the process started and did not end
        else:
            process.kill()


def _signal(process: subprocess.Popen[str], number: int) -> None:
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
