"""Run by `process.run` as a process of its own: start a command, watch its bounds, and leave nothing of it behind.

Whatever the command starts stays below this process, which is a child subreaper (prctl(2)): there is nothing else here, so all of it
may be killed. Standard input holds one line, the request, and stays open: its end means that the one who asked is gone. The answer is
one line on standard output. Both are JSON. It imports the standard library only, and little of it: its memory is the least that is
measured for any command, since a process that was forked counts what it was forked from.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SHORTEST, _LONGEST = 0.02, 0.5
"""Seconds between two looks at the bounds."""
_SHARE = 20
"""A look may take this part of the time: what is measured must not be the measuring."""
_GRACE = 0.5
"""Seconds for what the command left behind to end by itself, as the helpers of multiprocessing do."""
_PATIENCE = 30.0
"""Seconds until processes that cannot be killed (uninterruptible sleep) are given up."""
_BLOCK = 4096
"""What a file takes on a disk is counted in blocks of this size, so that empty files count, too."""
_ENDLESS = 1 << 62
_SPARE = 2000
"""Processes that the user may start elsewhere meanwhile: the system's own limit is for all of the user's together."""
_MANY = 50_000
"""Files that a folder may hold at the start to be watched at all: going through more would disturb what is measured."""


def main() -> None:
    """Serve the one request there is."""
    request = json.loads(_read_line())
    wakeup = _prepare()
    stopped: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.append(True))
    try:
        answer = _supervise(request, wakeup, stopped)
    except (OSError, ValueError) as error:
        answer = {"error": getattr(error, "strerror", None) or str(error), "errno": getattr(error, "errno", None)}
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode() + b"\n")


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            os._exit(1)
        line += chunk
    return line


def _prepare() -> int:
    """Become the parent of whatever loses its own below here; return what can be read when a child ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        with suppress(OSError):  # a right that few have, so that a thousand busy processes do not keep this one from its work
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def _supervise(request: dict[str, Any], wakeup: int, stopped: list[bool]) -> dict[str, Any]:
    bounds = _Bounds(request)
    with open(request["stdin"], "rb") as given, open(request["stdout"], "wb") as out, open(request["stderr"], "wb") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            request["arguments"],
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=request["folder"],
            env=request["environment"],
            start_new_session=True,
            preexec_fn=_limiter(request["written"], request["processes"]),
        )
    try:
        status, overrun = _watch(child.pid, bounds, start, wakeup, stopped)
        seconds = time.perf_counter() - start
        left = 0 if status is None else _left_alone(wakeup)
    finally:
        reaped = _kill_all(child.pid)
    status = reaped.get(child.pid, status) if overrun is None else None
    if overrun is None and (status in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ) or bounds.written() > bounds.most_written):
        status, overrun = None, "written"
    return {"status": status, "overrun": overrun, "seconds": seconds, "left": left, "peak_memory": _peak_memory()}


def _limiter(written: int, processes: int) -> Callable[[], None]:
    """Return what is done in the child before the command: it dies with this process, and cannot outrun the bounds by far."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    most = _processes_of_user() + processes + _SPARE

    def limit() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, written + 1)
        if sys.platform == "linux":
            _lower(resource.RLIMIT_NPROC, most)

    return limit


def _lower(which: int, limit: int) -> None:
    hard = resource.getrlimit(which)[1]
    limit = min(limit, _ENDLESS if hard == resource.RLIM_INFINITY else hard)
    resource.setrlimit(which, (limit, limit))


class _Bounds:
    """What the command may do: a look at it costs at most a small share of the time."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._outputs = (request["stdout"], request["stderr"])
        self.seconds: float = request["seconds"]
        self.most_written: int = request["written"]
        self._processes: int = request["processes"]
        self._folder: str = request["folder"]
        self._before = _size_of(self._folder, _MANY)
        self._next = _SHORTEST

    def written(self) -> int:
        """Return the bytes of the output and of what came into the folder."""
        output = sum(os.stat(path).st_size for path in self._outputs)
        if self._before is None or output > self.most_written:
            return output
        return output + max(0, (_size_of(self._folder) or 0) - self._before)

    def due(self, elapsed: float) -> float:
        """Return the seconds until the next look."""
        return max(0.0, min(self._next, self.seconds) - elapsed)

    def overrun(self, elapsed: float) -> str | None:
        """Return the bound that is overrun, or None."""
        if elapsed >= self.seconds:
            return "seconds"
        if elapsed < self._next:
            return None
        began = time.perf_counter()
        found = None
        if sum(threads for _, threads in _descendants().values()) > self._processes:
            found = "processes"
        elif self.written() > self.most_written:
            found = "written"
        cost = time.perf_counter() - began
        self._next = elapsed + cost + min(max(_SHORTEST, _SHARE * cost), max(_LONGEST, cost))
        return found


def _size_of(folder: str, most: int | None = None) -> int | None:
    """Return the bytes of all files below a folder, in whole blocks; None where there are more than `most` of them."""
    total = count = 0
    folders = [folder]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        count += len(entries)
        if most is not None and count > most:
            return None
        for entry in entries:
            with suppress(OSError):  # gone meanwhile
                found = entry.stat(follow_symlinks=False)
                total += -(-found.st_size // _BLOCK) * _BLOCK or _BLOCK
                if stat.S_ISDIR(found.st_mode):
                    folders.append(entry.path)
    return total


def _watch(pid: int, bounds: _Bounds, start: float, wakeup: int, stopped: list[bool]) -> tuple[int | None, str | None]:
    """Return the status of the command where it ended, else None and the bound that it overran."""
    parent = os.getppid()
    while True:
        elapsed = time.perf_counter() - start
        readable, _, _ = select.select([0, wakeup], [], [], bounds.due(elapsed))
        if wakeup in readable:
            _drain(wakeup)
            reaped = _reap()
            if pid in reaped:
                return reaped[pid], None
        if 0 in readable or stopped or os.getppid() != parent:
            return None, "stopped"
        overrun = bounds.overrun(time.perf_counter() - start)
        if overrun:
            return None, overrun


def _drain(wakeup: int) -> None:
    with suppress(BlockingIOError):
        while os.read(wakeup, 4096):
            pass


def _reap() -> dict[int, int]:
    """Return the exit statuses of the children that ended, by their numbers."""
    ended = {}
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def _left_alone(wakeup: int) -> int:
    """Return how many processes are still there after a while, although the command ended."""
    end = time.monotonic() + _GRACE
    while _descendants() and time.monotonic() < end:
        select.select([0, wakeup], [], [], 0.01)
        _drain(wakeup)
        _reap()
    return len(_descendants())


def _kill_all(pid: int) -> dict[int, int]:
    """Kill whatever is below this process until nothing is; return the statuses of what was reaped.

    First all of it is stopped, until nothing new is found: what is killed one by one makes room for others of a fork bomb. A group
    is signalled at once, which no fork escapes (fork(2)); a group below this process holds no others.
    """
    reaped: dict[int, int] = {}
    end = time.monotonic() + _PATIENCE
    if not os.path.isdir("/proc/self"):
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    seen: set[int] = set()
    while (found := _descendants()).keys() - seen and time.monotonic() < end:
        _signal(found, signal.SIGSTOP)
        seen.update(found)
    while True:
        _signal(found, signal.SIGKILL)
        reaped.update(_reap())
        if not found or time.monotonic() > end:
            return reaped
        time.sleep(0.002)
        found = _descendants()


def _signal(found: dict[int, tuple[int, int]], number: int) -> None:
    """Send a signal to processes and to their groups."""
    for group in {group for group, _ in found.values()} - {os.getpgrp()}:
        with suppress(OSError):
            os.killpg(group, number)
    for each in found:
        with suppress(OSError):
            os.kill(each, number)


def _descendants() -> dict[int, tuple[int, int]]:
    """Return the group and the number of threads of each process below this one, zombies aside, by its number (proc(5), stat)."""
    children: dict[int, list[int]] = {}
    facts: dict[int, tuple[int, int]] = {}
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no such system
        return {}
    for name in numbers:
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                fields = file.read(1024).rpartition(b")")[2].split()
        except OSError:  # gone meanwhile
            continue
        state, parent, group, threads = fields[0], int(fields[1]), int(fields[2]), int(fields[17])
        children.setdefault(parent, []).append(int(name))
        if state not in b"ZX":
            facts[int(name)] = group, threads
    found: list[int] = []
    ahead = [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return {number: facts[number] for number in found if number in facts}


def _processes_of_user() -> int:
    """Return how many processes and threads the user has, as far as they can be seen."""
    count = 0
    with suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == os.getuid():
                    count += os.stat(f"/proc/{name}/task").st_nlink - 2
    return count


def _peak_memory() -> int:
    """Return the largest resident set, in bytes, of any one process among those reaped (getrusage(2): kilobytes on Linux)."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
