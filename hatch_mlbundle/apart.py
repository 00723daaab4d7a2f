"""The folder that a step of another distribution works in: copies of the bundle's files, so that it cannot spoil the originals."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TypeAlias

from .errors import ClaimError, SpoiltError, UnsoundResultError
from .model import CHUNK, Bundle, File
from .printable import printable
from .workspace import Workspace

_AT_ONCE = 1 << 30
"""Bytes that the system copies in one call."""

_TIME = 315532800
"""When a copy is said to be made, 1980-01-01: by a time just now, one that is written at once could not be told from it."""

_Stamp: TypeAlias = tuple[int, int, int, int]


class Apart(Workspace):
    """A workspace of copies of the files in `bundle`. Each one's stamp is kept, so that one that was changed is found out."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.bundle = Bundle()
        self._stamps: dict[str, _Stamp | None] = {}

    def local(self, file: File) -> Path:
        """Return the path in `tree` with a copy of the file; raises StorageError, SpoiltError where there is no place for it, ClaimError.

        A file that the step made up itself could be laid anywhere.
        """
        if file.path not in self.bundle:
            raise ClaimError(f"asks for {printable(str(file.path))}, which is no file of the bundle")
        try:
            return super().local(file)
        except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if not Path(str(error.filename)).is_relative_to(self.root):
                raise
            raise SpoiltError(f"removed or replaced the folder of {printable(file.path)}, which it was given to read") from error

    def check(self, paths: tuple[str, ...] | None = None) -> None:
        """Raise SpoiltError where one of these files, or any, is no longer what it was; it is copied anew when it is asked for again."""
        stamps = list(self._stamps.items()) if paths is None else [(path, self._stamps.get(path)) for path in paths]
        spoilt = [path for path, stamp in stamps if stamp != _stamp(self.tree / path)]
        for path in spoilt:
            self._forget(path)
        if spoilt:
            others = f" and {len(spoilt) - 1} more" if len(spoilt) > 1 else ""
            raise SpoiltError(f"changed {printable(min(spoilt))}{others}, which it was given to read")

    def strays(self) -> list[str]:
        """Return what lies in `tree` and is no copy, sorted."""
        found = (Path(folder, name).relative_to(self.tree).as_posix() for folder, _, names in os.walk(self.tree) for name in names)
        return sorted(path for path in found if path not in self._stamps)

    def remove(self) -> None:
        """Remove it all."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _forget(self, path: str) -> None:
        self._stamps.pop(path, None)
        self._present.pop(path, None)
        place = self.tree / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with suppress(OSError):
                place.unlink()

    def _lay(self, file: File, path: Path) -> None:
        original = file.content.local_path() if file.link is None else None
        if original is None:
            super()._lay(file, path)
        else:
            copy(original, path)
            path.chmod(file.mode | 0o600)
            os.utime(path, (_TIME, _TIME))
        self._stamps[file.path] = _stamp(path)


def copy(source: Path, target: Path) -> None:
    """Make `target`, a free name, a file of its own with the bytes of `source`: on file systems that can, they share blocks."""
    with source.open("rb", buffering=0) as original, target.open("xb") as made:
        with suppress(OSError, AttributeError):  # this system cannot, or not from one file system to the other
            while os.copy_file_range(original.fileno(), made.fileno(), _AT_ONCE):
                pass
        shutil.copyfileobj(original, made, CHUNK)


def sealed(path: Path, target: Path) -> Path:
    """Copy a file that a step made, and may still have open, to `target`; raises UnsoundResultError for what is no plain file."""
    if not is_plain(path):
        raise UnsoundResultError("it made what is no plain file")
    copy(path, target)
    return target


def is_plain(path: Path) -> bool:
    """Say whether a file, and no link, folder or device, is at `path`."""
    with suppress(OSError):
        return S_ISREG(path.lstat().st_mode)
    return False


def _stamp(path: Path) -> _Stamp | None:
    """Return what tells a file that was written anew from the one that was there; None where nothing is."""
    with suppress(OSError):
        status = path.lstat()
        return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns
    return None
