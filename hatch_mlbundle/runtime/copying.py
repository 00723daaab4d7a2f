"""Give a file's bytes another name: shared with the first where the file system can, or copied and on the disk."""

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
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    with open(source, "rb") as reader, open(target, "xb") as writer:
        by(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())


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
