"""Replace a folder whole or not at all, as `atomic` does it for a file, and clear away what killed processes left."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hatch_mlbundle.atomic import leftovers, make_folder, temporary_name
from hatch_mlbundle.storage import storage_errors

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of Linux's renameat2(2): both names stay, each for what the other stood for."""

FORMER = "former"
"""What stands in the temporary name of what is being replaced."""


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Give the name of a folder to create beside `target`; it takes the place of what is there when the body ends without an error.

    Whatever is raised, the target stays as it was and the new folder goes. Raises StorageError where the file system refuses.
    No file is brought to the disk one by one (fsync): in a tree of many thousands that takes minutes.
    """
    partial, former = (temporary_name(target, what) for what in ("partial", FORMER))
    with storage_errors(target):
        recover(target)
        for path in (*leftovers(target, "partial"), *leftovers(target, FORMER)):
            remove_folder(path)
        make_folder(target.parent)
        try:
            yield partial
            _put_in_place(partial, target, former)
        finally:
            remove_folder(partial)
        remove_folder(former)


@contextmanager
def put_in_place(new: Path, target: Path) -> Iterator[None]:
    """Let `new`, a file or folder beside `target`, bear its name from now on.

    Where the body raises, both bear their own names again; where it ends well, what was there before goes. Raises StorageError.
    """
    former, is_first = temporary_name(target, FORMER), not os.path.lexists(target)
    with storage_errors(target):
        _put_in_place(new, target, former)
    old = new if os.path.lexists(new) else former
    try:
        yield
    except BaseException:
        if is_first:
            target.rename(new)
        else:
            _put_in_place(old, target, former if old == new else new)
        raise
    remove_folder(old)


@contextmanager
def replace_by_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `target`, be that a file or a folder, when the body ends without an error.

    It does not take over the permission bits of what it replaces. Whatever is raised, the target stays as it was and the new file
    goes. Raises StorageError where the file system refuses.
    """
    recover(target)
    make_folder(target.parent)
    new, former = (temporary_name(target, what) for what in ("partial", FORMER))
    with storage_errors(target):
        for path in (*leftovers(target, "partial"), *leftovers(target, FORMER)):
            remove_folder(path)
        try:
            with new.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if target.is_dir() and not target.is_symlink():
                _rename_both(new, target, former)
            else:
                new.replace(target)
        finally:
            new.unlink(missing_ok=True)
        remove_folder(former)


def recover(target: Path) -> None:
    """Bring back a folder that is missing because its replacement was killed between two renames; raises StorageError."""
    if os.path.lexists(target):
        return
    former = max(leftovers(target, FORMER), key=lambda path: path.lstat().st_ctime_ns, default=None)
    if former:
        with storage_errors(target), suppress(FileNotFoundError):  # another process was faster
            former.rename(target)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all in it, read-only folders too, or a file; what the system does not let go stays. No link is followed."""
    waiting = [folder]
    with suppress(OSError):
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
            return
        while waiting:
            inner = waiting.pop()
            inner.chmod(0o700)
            with os.scandir(inner) as entries:
                waiting += [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(new: Path, target: Path, former: Path) -> None:
    """Give `new` the target's name; what bore it is then called `new` or `former`."""
    if not os.path.lexists(target):
        new.rename(target)
    elif not _exchange(new, target):
        _rename_both(new, target, former)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step that nothing can interrupt; say whether this system and file system can."""
    if sys.platform != "linux":
        return False
    import ctypes  # costs 10 ms, and most runs need none

    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _rename_both(new: Path, target: Path, former: Path) -> None:
    """Do in two steps what `_exchange` does in one; `recover` mends what a kill between them breaks."""
    target.rename(former)
    try:
        new.rename(target)
    except BaseException:
        former.rename(target)
        raise
