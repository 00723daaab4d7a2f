"""Run by `load.Loader` as a process of its own: try each library in a fork, so that nothing it does reaches anyone else.

A request is one line, `SECONDS PATH-IN-HEX`; the answer is one line, `WORD TEXT-IN-HEX`, with WORD now, lazy, error or crash.
It imports the standard library only, and little of it: every fork pays for what is in memory.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_TICK = 0.05
_LONGEST = 2000
_PR_SET_PDEATHSIG = 1


def serve() -> None:
    """Answer requests from standard input until it ends, which is when the one who asks is gone."""
    with open(0, "rb", buffering=0, closefd=False) as requests:
        while line := requests.readline():
            seconds, path = line.split()
            word, text = _try(bytes.fromhex(path.decode()), float(seconds))
            os.write(1, f"{word} {text.encode(errors='replace').hex()}\n".encode())


def _try(path: bytes, seconds: float) -> tuple[str, str]:
    answer, report = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _load(path, report, seconds)
        finally:
            os._exit(70)
    os.close(report)
    message, status = _wait(process, answer, seconds)
    os.close(answer)
    _kill_group(process, is_reaped=status is not None)
    if status is None:
        _, status = os.waitpid(process, 0)
    if message is None:
        return "crash", f"it did not load within {seconds:g} seconds"
    word, _, text = message.partition(" ")
    return (word, text) if word else ("crash", _ending(status))


def _load(path: bytes, report: int, seconds: float) -> None:
    """Load the library in this fork, and report how that went; what it prints goes nowhere."""
    os.setsid()
    _die_with_parent()
    signal.alarm(int(seconds) + 5)
    _no_core_dump()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    word, text = _dlopen(path)
    os.write(report, f"{word} {text[:_LONGEST]}\n".encode(errors="replace"))
    os._exit(0)


def _dlopen(path: bytes) -> tuple[str, str]:
    name = os.fsdecode(path)
    try:
        ctypes.CDLL(name, os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        try:
            ctypes.CDLL(name, os.RTLD_LAZY | os.RTLD_LOCAL)
        except OSError:
            return "error", " ".join(str(error).split())
        return "lazy", " ".join(str(error).split())
    return "now", ""


def _wait(process: int, answer: int, seconds: float) -> "tuple[str | None, int | None]":
    """Return what the fork reported, "" where it ended without, None where time is up; and its status where it was reaped."""
    message = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ready, _, _ = select.select([answer, 0], [], [], _TICK)
        if 0 in ready:
            _kill_group(process, is_reaped=False)
            os._exit(0)
        if answer in ready:
            chunk = os.read(answer, 4096)
            message += chunk
            if not chunk or message.endswith(b"\n"):
                return message.decode(errors="replace").strip(), None
        else:
            # Something it started may hold the pipe open after its end.
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return "", status
    return None, None


def _kill_group(process: int, *, is_reaped: bool) -> None:
    """Kill the fork and what it started; once it is reaped, its number alone may belong to another."""
    with contextlib.suppress(OSError):  # gone already
        os.killpg(process, signal.SIGKILL)
    if not is_reaped:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"signal {number} ({signal.strsignal(number)})"
    return f"the library ended the process with status {os.WEXITSTATUS(status)}"


def _die_with_parent() -> None:
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _no_core_dump() -> None:
    import resource  # there is none on Windows

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    serve()
