"""Give a file's bytes another name, shared with the first where the file system can, or copied and on the disk; take files away."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable
from typing import BinaryIO

_FICLONE = 0x40049409
"""Lets one file share another's blocks on Linux (ioctl_ficlone(2))."""


def cloned(source: str, target: str) -> bool:
    """Make a file of its own that shares its blocks with another; say whether the file system can (btrfs, XFS, bcachefs)."""
    return _done(_clone, source, target)


def linked(source: str, target: str) -> bool:
    """Give a file one more name; say whether the file system can."""
    return _done(os.link, source, target)


def copy(source: str, target: str, by: Callable[[BinaryIO, BinaryIO], object] = shutil.copyfileobj) -> None:
    """Copy a file, over what is there, and bring it to the disk. Raises OSError."""
    remove(target)
    with open(source, "rb") as reader, open(target, "xb") as writer:
        by(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())


def remove_tree(folder: str) -> None:
    """Take a folder away with all that is in it, also files that are only to be read, which Windows keeps. Raises OSError."""
    for above, _, names in os.walk(folder):
        for name in names:
            remove(os.path.join(above, name))
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def remove(path: str) -> None:
    """Take a file away, if it is there, also one that is only to be read. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if os.name == "nt":
            os.chmod(path, 0o644)
        os.unlink(path)


def _clone(source: str, target: str) -> None:
    if sys.platform != "linux":
        raise OSError(errno.EOPNOTSUPP, "not tried")
    from fcntl import ioctl

    copy(source, target, lambda reader, writer: ioctl(writer.fileno(), _FICLONE, reader.fileno()))


def _done(action: Callable[[str, str], None], source: str, target: str) -> bool:
    """Say whether the file system can do that; nothing is left of what it cannot."""
    try:
        action(source, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(target)
        return False
    return True
