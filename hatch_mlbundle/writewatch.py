"""Refuse writes to places that are none of a plugin's, while its code runs: an audit hook (PEP 578) that looks at marked threads only.

What C code opens by itself, and what other processes do, raises no audit event and is not seen.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import thread as executors
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import platformdirs

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_DEVICES = ("/dev", "/proc")
"""What lies there is no file: terminals, /dev/null, shared memory, pipes of this process."""

_BYTECODE = re.compile(r".*[\\/]__pycache__([\\/][^\\/]+\.pyc(\.\d+)?)?", re.DOTALL)
"""What Python writes whenever a module is imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a plugin may write: into `own` always, into `forbidden` never, into `project` nothing but bytecode.

    Of what remains, into the system's folder for temporary files and the user's for caches; where one of these lies in a forbidden
    folder or the project, it is not forbidden for that.
    """

    own: Path
    forbidden: Sequence[Path] = ()
    project: Path | None = None

    def allow(self, path: str) -> bool:
        """Say whether a plugin may write what is really at `path`."""
        if _below(path, _real(self.own)):
            return True
        if any(_forbids(_real(each), path) for each in self.forbidden):
            return False
        if _BYTECODE.fullmatch(path):
            return True
        if self.project and _forbids(_real(self.project), path):
            return False
        return any(_below(path, each) for each in (*_DEVICES, *_scratch()))


@dataclass(slots=True, kw_only=True)
class Watched:
    """One call into a plugin: where it may write, and the paths that were refused to it; `everything` are those of all calls."""

    places: Places
    everything: list[str]
    refused: list[str] = field(default_factory=list)


class _Thread(threading.local):
    watched: Watched | None = None


_THREAD = _Thread()
_HEIRS: WeakKeyDictionary[threading.Thread, Watched] = WeakKeyDictionary()
"""Threads that were started in a call: what they do is that call's doing."""


@contextmanager
def watched(call: Watched | None) -> Iterator[None]:
    """Watch what this thread, and those that it starts, write while the body runs; None watches nothing."""
    if call:
        _install()
    before, _THREAD.watched = _THREAD.watched, call
    heir = _HEIRS.pop(threading.current_thread(), None) if _HEIRS else None
    try:
        yield
    finally:
        _THREAD.watched = before
        if heir:
            _HEIRS[threading.current_thread()] = heir


@cache
def _install() -> None:
    sys.addaudithook(_hear)
    threading.Thread.start = _start  # type: ignore[assignment]


_start_thread = threading.Thread.start


@wraps(_start_thread)
def _start(thread: threading.Thread) -> None:
    """Start a thread as ever, but remember in whose call: not every Python has an audit event for it."""
    call = _call()
    if call:
        _HEIRS[thread] = call
        thread.daemon = True  # the process must be able to end without it
    _start_thread(thread)


def release_threads() -> None:
    """Let the process end without the threads of a call that was given up: those of executors are waited for, daemons or not."""
    waited_for = getattr(executors, "_threads_queues", {})
    for thread in list(_HEIRS):
        waited_for.pop(thread, None)


def _call() -> Watched | None:
    return _THREAD.watched or (_HEIRS.get(threading.current_thread()) if _HEIRS else None)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook: called for every event of every thread, so that what is not watched must cost next to nothing."""
    written = _EVENTS.get(event)
    if written is None:
        return
    call = _call()
    if call is None:
        return
    for path in written(arguments):
        if not call.places.allow(path):
            call.refused.append(path)
            call.everything.append(path)
            raise PermissionError(errno.EACCES, "a plugin may not write here", path)


def _opened(arguments: tuple[Any, ...]) -> Iterator[str]:
    path, _, flags = arguments
    if isinstance(flags, int) and flags & _WRITES and not isinstance(path, int):
        yield os.path.realpath(os.fsdecode(path))


def _named(*numbers: tuple[int, int | None]) -> Callable[[tuple[Any, ...]], Iterator[str]]:
    """Return what yields the names that an event changes: each the number of an argument, and of the one with its folder's descriptor."""

    def paths(arguments: tuple[Any, ...]) -> Iterator[str]:
        for number, folder in numbers:
            descriptor = arguments[folder] if folder is not None and len(arguments) > folder else -1
            if (path := _place(arguments[number], descriptor)) is not None:
                yield path

    return paths


def _followed(number: int, folder: int | None = None) -> Callable[[tuple[Any, ...]], Iterator[str]]:
    """Return what yields the file that an event changes through links."""

    def paths(arguments: tuple[Any, ...]) -> Iterator[str]:
        descriptor = arguments[folder] if folder is not None and len(arguments) > folder else -1
        if (path := _place(arguments[number], descriptor)) is not None:
            yield os.path.realpath(path)

    return paths


def _linked(arguments: tuple[Any, ...]) -> Iterator[str]:
    """Yield both names of a hard link: through the new one, the old one's file could be written."""
    yield from _followed(0, 2)(arguments)
    yield from _named((1, 3))(arguments)


def _made(arguments: tuple[Any, ...]) -> Iterator[str]:
    """Yield a new folder; where there is one, nothing happens: it is often made anew to be sure that it is there."""
    yield from (path for path in _named((0, 2))(arguments) if not Path(path).is_dir())


def _place(path: Any, descriptor: int) -> str | None:
    """Return the path of a name itself, its folder without links; None for an open file, which was seen when it was opened."""
    if isinstance(path, int) or path is None:
        return None
    name = Path(os.fsdecode(path))
    if descriptor not in (-1, None) and not name.is_absolute():
        base = _folder_of(descriptor)
        if base is None:
            return None
        name = base / name
    return str(Path(os.path.realpath(name.parent)) / name.name)


def _folder_of(descriptor: int) -> Path | None:
    """Return the path of an open folder, None where this system does not tell."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return None


_EVENTS: dict[str, Callable[[tuple[Any, ...]], Iterator[str]]] = {
    "open": _opened,
    "os.remove": _named((0, 1)),
    "os.rmdir": _named((0, 1)),
    "os.mkdir": _made,
    "os.rename": _named((0, 2), (1, 3)),
    "os.symlink": _named((1, 2)),
    "os.link": _linked,
    "os.chmod": _followed(0, 2),
    "os.lchmod": _named((0, None)),
    "os.chown": _followed(0, 3),
    "os.lchown": _named((0, None)),
    "os.chflags": _followed(0),
    "os.lchflags": _named((0, None)),
    "os.truncate": _followed(0),
    "os.utime": _followed(0, 3),
    "os.setxattr": _followed(0),
    "os.removexattr": _followed(0),
}
"""The audit events that change files (docs.python.org, "Audit events table"), and what they change."""


@cache
def _real(path: Path) -> str:
    return os.path.realpath(path)


@cache
def _scratch() -> tuple[str, ...]:
    return tuple(os.path.realpath(each) for each in (tempfile.gettempdir(), platformdirs.user_cache_dir()))


def _forbids(folder: str, path: str) -> bool:
    return _below(path, folder) and not any(_below(each, folder) and _below(path, each) for each in _scratch())


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
