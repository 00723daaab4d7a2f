"""Replace a file whole or not at all, and say in one line when the file system refuses."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import StorageError
from .storage import storage_errors

_SUFFIX = "mlbundle-partial"


@contextmanager
def replace_atomically(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target` for writing; it takes the target's place when the body ends without an error.

    The new file keeps the target's permission bits, a first one honours the umask. Whatever is raised, the target stays as
    it was and the temporary file goes. Raises StorageError where the file system refuses.
    """
    if not target.parent.is_dir():
        raise StorageError(f"cannot write {target}: there is no such folder; create it first")
    partial = target.with_name(f".{target.name}.{os.getpid()}.{_SUFFIX}")
    with storage_errors(target):
        _remove_leftovers(target)
        partial.unlink(missing_ok=True)
        try:
            with partial.open("xb") as stream:
                yield stream
                _settle(stream, target)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _settle(stream: BinaryIO, target: Path) -> None:
    """Bring the bytes to the disk before the rename does, and give the file the permission bits of the one it replaces."""
    stream.flush()
    os.fsync(stream.fileno())
    if target.exists():
        Path(stream.name).chmod(stat.S_IMODE(target.stat().st_mode))


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left behind of the same target."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.(\d{{1,10}})\.{_SUFFIX}")
    for path in target.parent.iterdir():
        match = ours.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
