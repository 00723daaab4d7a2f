"""A bundle on disk for a while, to be run: links to private copies, so that changing from one snapshot to another costs no bytes."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.bundles.atomic_folder import remove_folder
from hatch_mlbundle.bundles.folder_scan import parents
from hatch_mlbundle.model import File
from hatch_mlbundle.storage import storage_errors

_State: TypeAlias = tuple[str, int, str | None]
"""What stands under a path: SHA-256 and permission bits, or what it links to."""

_Stamp: TypeAlias = tuple[int, int, int, int] | None

_CACHED = "__pycache__"
"""Python's own folders: what it writes into them says nothing of the application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Private copies of files by content, in an empty folder: nobody's original is within reach of a command that writes."""

    folder: Path
    _known: set[str] = field(default_factory=set)

    def copy_of(self, file: File) -> Path:
        """Return the path of a copy; raises StorageError, MlbundleError where the original cannot be read."""
        path = self._path(file)
        if path.name not in self._known:
            with storage_errors(path):
                path.unlink(missing_ok=True)
                _write(file, path)
            path.chmod(file.mode | stat.S_IRUSR)
            if file.modified is not None:
                os.utime(path, (file.modified, file.modified))
            self._known.add(path.name)
        return path

    def forget(self, file: File) -> None:
        """Have the copy made anew when it is next asked for; what was linked to it stays as it is."""
        self._known.discard(self._path(file).name)

    def _path(self, file: File) -> Path:
        return self.folder / f"{file.sha256}-{file.mode:o}-{file.modified}"


class Stand:
    """The folder `root` with the files of one bundle after another; `pool` copies what is new.

    `foreign` are files, links and empty folders in it that belong to others, and stay.
    """

    def __init__(self, root: Path, store: Store, pool: Executor, foreign: Collection[str] = frozenset()) -> None:
        self.root = root
        self._store = store
        self._pool = pool
        self._foreign = foreign
        self._files: Mapping[str, File] = {}
        self._stamps: dict[str, _Stamp] = {}

    def become(self, bundle: Mapping[str, File]) -> None:
        """Lay the files of another bundle; raises StorageError."""
        stale = [path for path, file in self._files.items() if path not in bundle or _state(bundle[path]) != _state(file)]
        fresh = [file for path, file in bundle.items() if path not in self._files or _state(self._files[path]) != _state(file)]
        copies = {(file.sha256, file.mode, file.modified): file for file in fresh if file.link is None}
        list(self._pool.map(self._store.copy_of, copies.values()))
        with storage_errors(self.root):
            self._remove(stale)
            for file in fresh:
                self._lay(file)
        self._files = dict(bundle)

    def mend(self) -> list[str]:
        """Undo whatever a command did to the files or put beside them; return the paths, sorted."""
        locked = self._unlock()
        disturbed = [path for path in self._files if _stamp(self.root / path) != self._stamps[path]]
        strange = list(self._strange())
        for path in (*strange, *disturbed):
            remove_folder(self.root / path)
        for path in disturbed:
            self._store.forget(self._files[path])
        with storage_errors(self.root):
            for path in disturbed:
                self._lay(self._files[path])
        return sorted({*locked, *disturbed, *(path for path in strange if _CACHED not in path.split("/"))})

    def _unlock(self) -> list[str]:
        """Open the folders that we could not look into or change any more; return them."""
        locked = []
        for folder in sorted({folder for path in self._files for folder in parents(path)} | {""}):
            with suppress(OSError):  # gone, or a link that is told of otherwise
                mode = (self.root / folder).lstat().st_mode
                if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                    (self.root / folder).chmod(stat.S_IMODE(mode) | stat.S_IRWXU)
                    locked.append(folder or ".")
        return locked

    def _strange(self) -> Iterator[str]:
        """Yield what nobody laid: files, and folders that no file of the bundle lies in."""
        known = {*self._files, *self._foreign}
        folders = {*self._foreign, *(folder for path in known for folder in parents(path))}
        for place, below, names in os.walk(self.root):
            inside = os.path.relpath(place, self.root).replace(os.sep, "/")
            prefix = "" if inside == "." else f"{inside}/"
            links = [name for name in below if (Path(place) / name).is_symlink()]
            yield from (prefix + name for name in (*names, *links) if prefix + name not in known)
            unknown = [name for name in below if name not in links and prefix + name not in folders]
            yield from (prefix + name for name in unknown)
            below[:] = [name for name in below if name not in (*links, *unknown)]

    def _remove(self, paths: list[str]) -> None:
        folders: set[str] = set()
        for path in paths:
            (self.root / path).unlink(missing_ok=True)
            folders.update(parents(path))
        for folder in sorted(folders, key=len, reverse=True):
            _remove_if_empty(self.root / folder)

    def _lay(self, file: File) -> None:
        place = self.root / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if file.link is not None:
            place.symlink_to(file.link)
        else:
            self._link(file, place)
        self._stamps[file.path] = _stamp(place)

    def _link(self, file: File, place: Path) -> None:
        try:
            os.link(self._store.copy_of(file), place)
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EPERM, errno.ENOTSUP):
                raise
            shutil.copy2(self._store.copy_of(file), place)


def _state(file: File) -> _State:
    return file.sha256, file.mode, file.link


def _stamp(path: Path) -> _Stamp:
    """Return what changes when somebody writes to a file, or puts another in its place."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def _write(file: File, path: Path) -> None:
    original = file.content.local_path()
    if original is not None:
        shutil.copyfile(original, path)
        return
    with path.open("wb") as stream:
        for chunk in file.content.chunks():
            stream.write(chunk)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
