"""A file that is written by one process at a time, under another name until it is complete.

The unfinished file is its own lock: the operating system lets go of it when the process ends, however it ends, and the next one takes
it over. Whoever waited finds out that the name went with the finished file, and looks again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator

_NO_FILE = "it is a link or no file; remove it"


class Place:
    """The unfinished file, held by this process alone. `descriptor` is open for reading and writing, at its start."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self._open = True

    def rename(self, target: str) -> None:
        """Give the finished file its name, in the same folder, and bring that to the disk."""
        if os.name == "nt":  # an open file has its name for good there
            self.close()
        os.replace(self.path, target)
        settle(os.path.dirname(target) or ".")

    def discard(self) -> None:
        """Take the unfinished file away, if it is still there."""
        if os.name == "nt":
            self.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def close(self) -> None:
        """Let go of the file."""
        if self._open:
            self._open = False
            os.close(self.descriptor)


@contextlib.contextmanager
def locked(path: str) -> Iterator[Place]:
    """Create the file, or take over what a process that is gone left of it, emptied, and hold it; waits while another process does.

    Never writes through a link. Raises OSError.
    """
    with resumed(path) as place:
        os.ftruncate(place.descriptor, 0)
        yield place


@contextlib.contextmanager
def resumed(path: str, mode: int = 0o600, waiting: Callable[[], object] | None = None) -> Iterator[Place]:
    """Hold the file as `locked` does, with what a process that is gone left in it; `waiting` is called before another one is waited for."""
    place = _take(path, mode, waits=waiting is None)
    if place is None and waiting:
        waiting()
    while place is None:
        place = _take(path, mode)
    try:
        yield place
    finally:
        place.close()


def remove_idle(path: str) -> bool:
    """Take an unfinished file away unless a process holds it; say whether it is gone. Raises OSError."""
    place = _take(path, waits=False)
    if place is None:
        return not os.path.lexists(path)
    place.discard()
    place.close()
    return True


def _take(path: str, mode: int = 0o600, *, waits: bool = True) -> Place | None:
    """Return the locked file; None where another process holds it, or it got its final name, or went, while this process waited."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, mode)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileExistsError(errno.EEXIST, _NO_FILE, path)
        if _lock(descriptor, waits=waits) and _is_at(descriptor, path):
            if os.fstat(descriptor).st_nlink > 1:  # a finished one, which may be linked elsewhere, is no longer at this path
                raise FileExistsError(errno.EEXIST, _NO_FILE, path)
            return Place(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, waits: bool) -> bool:
        """Lock a byte far behind the end: on Windows nobody else could read or write a locked one."""
        while True:
            os.lseek(descriptor, 1 << 40, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                break
            except PermissionError:
                if not waits:
                    return False
                time.sleep(0.1)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def settle(folder: str) -> None:
        """Windows brings names to the disk by itself."""

else:
    import fcntl

    def _lock(descriptor: int, *, waits: bool) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def settle(folder: str) -> None:
        """Bring a folder's names to the disk, where its file system can."""
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
