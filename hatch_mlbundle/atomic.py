"""Replace a file whole or not at all, and say in one line when the file system refuses."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import StorageError
from .storage import storage_errors


@contextmanager
def replace_atomically(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target` for writing; it takes the target's place when the body ends without an error.

    The new file keeps the target's permission bits, a first one honours the umask. Whatever is raised, the target stays as
    it was and the temporary file goes. Raises StorageError where the file system refuses.
    """
    if not target.parent.is_dir():
        raise StorageError(f"cannot write {target}: there is no such folder; create it first")
    partial = temporary_name(target, "partial")
    with storage_errors(target):
        for path in leftovers(target, "partial"):
            with suppress(OSError):
                path.unlink()
        try:
            with partial.open("xb") as stream:
                yield stream
                _settle(stream, target)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder, with its parents, unless it is there; raises StorageError."""
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"cannot create the folder {folder}: a file is in its place; remove it or choose another folder") from error


def temporary_name(target: Path, what: str) -> Path:
    """Return this process's own hidden name beside `target`; `what` tells what stands under it."""
    return target.with_name(f".{target.name}.{os.getpid()}.mlbundle-{what}")


def leftovers(target: Path, what: str) -> list[Path]:
    """Return what stands under such names of processes that are gone, and of this one: it has not begun, its number was another's."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.(\d{{1,10}})\.mlbundle-{re.escape(what)}")
    found: list[Path] = []
    with suppress(OSError):  # a folder that cannot be listed hides them
        for path in target.parent.iterdir():
            match = ours.fullmatch(path.name)
            if match and not _is_another(int(match[1])):
                found.append(path)
    return found


def _settle(stream: BinaryIO, target: Path) -> None:
    """Bring the bytes to the disk before the rename does, and give the file the permission bits of the one it replaces."""
    stream.flush()
    os.fsync(stream.fileno())
    if target.exists():
        Path(stream.name).chmod(stat.S_IMODE(target.stat().st_mode))


def _is_another(pid: int) -> bool:
    """Say whether a process of this number runs that is not this one."""
    if pid == os.getpid():
        return False
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
