"""Hear from Linux which files below some folders are opened, by any process: native code, programs that are started, the loader.

inotify(7). It tells neither who opens a file nor who only asks whether it is there; the hook in the application sees the latter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import final

_EVENT = struct.Struct("iIII")
"""Watch, mask, cookie, bytes of the name that follows."""
_IN_OPEN, _IN_Q_OVERFLOW, _IN_ONLYDIR, _IN_ISDIR = 0x20, 0x4000, 0x0100_0000, 0x4000_0000
_BUFFER = 1 << 20
_LIMITS = "/proc/sys/fs/inotify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What was opened, relative to the root below which it lies; `missed` says in a phrase why that may not be all, None where it is."""

    paths: frozenset[str]
    missed: str | None


@final
class Watcher:
    """A context in which every opening of a file in one of `folders`, each relative to its root ("" is the root), is noted."""

    def __init__(self, folders: Iterable[tuple[Path, str]]) -> None:
        self._folders = list(folders)
        self._watches: dict[int, str] = {}
        self._events: set[tuple[int, bytes]] = set()
        self._missed: str | None = None
        self._inotify = -1
        self._stop = (-1, -1)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watcher:
        """Watch the folders as they are now."""
        if sys.platform != "linux":
            self._missed = "what native code opens is seen on Linux only"
            return self
        libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._inotify < 0:
            self._missed = _refusal(ctypes.get_errno())
            return self
        for root, folder in self._folders:
            watch = libc.inotify_add_watch(self._inotify, os.fsencode(root / folder), _IN_OPEN | _IN_ONLYDIR)
            if watch >= 0:
                self._watches[watch] = f"{folder}/" if folder else ""
            else:
                self._missed = _refusal(ctypes.get_errno())
        self._stop = os.pipe()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Take in what was not yet heard, and watch no more."""
        if self._thread is not None:
            os.write(self._stop[1], b".")
            self._thread.join()
        for file in (self._inotify, *self._stop):
            if file >= 0:
                os.close(file)

    @property
    def opened(self) -> Opened:
        """What was opened, once the context is left."""
        paths = {self._watches[watch] + os.fsdecode(name.rstrip(b"\0")) for watch, name in self._events if watch in self._watches}
        return Opened(paths=frozenset(paths), missed=self._missed)

    def _listen(self) -> None:
        """Read events until there is a byte in the pipe, then those that are left."""
        poll = select.poll()
        poll.register(self._inotify, select.POLLIN)
        poll.register(self._stop[0], select.POLLIN)
        while True:
            ready = {file for file, _ in poll.poll()}
            with suppress(BlockingIOError):
                while True:
                    self._take(os.read(self._inotify, _BUFFER))
            if self._stop[0] in ready:
                return

    def _take(self, data: bytes) -> None:
        at, end, events = 0, len(data), self._events
        unpack, size = _EVENT.unpack_from, _EVENT.size
        while at < end:
            watch, mask, _, length = unpack(data, at)
            at += size
            if mask & _IN_Q_OVERFLOW:
                self._missed = f"more files were opened at once than the system's queue holds ({_LIMITS}/max_queued_events)"
            elif length and not mask & _IN_ISDIR:
                events.add((watch, data[at : at + length]))
            at += length


def _refusal(error: int) -> str:
    if error == errno.ENOSPC:
        return f"the system watches no more folders ({_LIMITS}/max_user_watches)"
    if error == errno.EMFILE:
        return f"the system has no more watchers ({_LIMITS}/max_user_instances)"
    return f"the system refuses to watch a folder ({os.strerror(error)})"
