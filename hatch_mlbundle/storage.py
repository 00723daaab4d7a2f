"""What the file system refuses, told in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StorageError
from .printable import printable

_QUOTA = getattr(errno, "EDQUOT", errno.ENOSPC)
_REFUSALS = {
    errno.ENOSPC: "disk full",
    _QUOTA: "disk quota used up" if _QUOTA != errno.ENOSPC else "disk full",
    errno.EFBIG: "file size limit reached",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}
_FULL = {errno.ENOSPC, _QUOTA, errno.EFBIG}
_REMEDIES = {**dict.fromkeys(_FULL, "free some space"), errno.ENAMETOOLONG: "choose a shorter one"}


def storage_error(error: OSError, target: Path) -> StorageError | None:
    """Return the one line for what the file system refused while `target` was written; None for errors of another sort."""
    refusal = _REFUSALS.get(error.errno or 0)
    if refusal is None:
        return None
    remedy = _REMEDIES.get(error.errno or 0, "make it writable")
    return StorageError(f"{refusal} while writing {printable(str(target))}; {remedy}, what was there before is untouched")


def fatal_storage_error(error: Exception, target: Path) -> StorageError | None:
    """Return the one line for a disk on which nothing more can be written; None for what concerns one file only."""
    if isinstance(error, OSError) and error.errno in {*_FULL, errno.EROFS}:
        return storage_error(error, target)
    return None


@contextmanager
def storage_errors(target: Path) -> Iterator[None]:
    """Turn what the file system refuses in the body (disk full, no permission) into a StorageError about writing `target`."""
    try:
        yield
    except OSError as error:
        told = storage_error(error, target)
        if told is None:
            raise
        raise told from error
