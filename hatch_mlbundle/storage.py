"""The file system's refusals, told in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import StorageError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "the file system allows no file that large; write to another one",
    errno.EROFS: "the file system is read-only; write to another folder",
    errno.EACCES: "permission denied; make it writable or write to another folder",
    errno.EPERM: "not permitted; make it writable or write to another folder",
    errno.EIO: "the device failed; check the disk",
}


def storage_error(error: OSError, what: str) -> StorageError | None:
    """Return the one line for an OSError of the disk's making while `what` was read or written; None for any other."""
    advice = _ADVICE.get(error.errno or 0)
    return StorageError(f"{what}: {advice} (nothing was replaced)") if advice else None


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn OSErrors of the disk's making into StorageError; let others pass."""
    try:
        yield
    except OSError as error:
        told = storage_error(error, what)
        if told is None:
            raise
        raise told from error
