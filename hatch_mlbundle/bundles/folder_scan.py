"""Read a folder: what is in it, whose it is, and what was true of each file when it was hashed."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.bundles.record import recorded_files
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import DiskContent, File, Kind, MemoryContent

Stamp: TypeAlias = tuple[int, int]
"""A file's size in bytes and its modification time in nanoseconds: where they are as before, nobody wrote to it."""

_PIECE = 1 << 17
"""Bytes that are read and hashed at a time."""
_SHARE, _MOST = 1 << 22, 200
"""Bytes and files, about and at most, that a thread is given at a time."""
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The entries of a tree in sorted order: files and links, and folders with their modes. Links are never followed."""

    files: tuple[str, ...]
    folders: Mapping[str, int]

    def empty_folders(self) -> set[str]:
        """Return the folders with no file anywhere in them."""
        return set(self.folders) - {folder for path in self.files for folder in parents(path)}


def walk(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files, links and folders in a folder by their paths in it; no link is followed.

    Raises ArtifactError where something cannot be read, or is a device, pipe or socket.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(f"{root}/{folder}"):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif not (entry.is_symlink() or entry.is_file()):
                raise ArtifactError(str(root / path), "is neither file, folder nor link; take it out")
            yield path, entry


def list_tree(root: Path) -> Listing:
    """Return what is in a folder; raises ArtifactError as `walk` does."""
    files: list[str] = []
    folders: dict[str, int] = {}
    for path, entry in walk(root):
        if entry.is_dir(follow_symlinks=False):
            folders[path] = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
        else:
            files.append(path)
    return Listing(files=tuple(sorted(files)), folders=folders)


def scan_files(root: Path, paths: Sequence[str], owners: Mapping[str, str], pool: Executor) -> Iterator[tuple[File, Stamp]]:
    """Yield the files, hashed on all cores, each with its stamp from just before; raises ArtifactError where one cannot be read.

    What takes longest is begun first. Small files are handed out many at a time: to pass one on costs more than to read it.
    """
    batches = pool.map(lambda batch: [scan_file(root, path, owners) for path in batch], _batches(root, paths))
    scanned = {file.path: (file, stamp) for batch in batches for file, stamp in batch}
    for path in paths:
        yield scanned.pop(path)


def scan_file(root: Path, path: str, owners: Mapping[str, str]) -> tuple[File, Stamp]:
    """Return a file, hashed, and its stamp from just before; raises ArtifactError where it cannot be read."""
    place = root / path
    owner = owner_of(path, owners)
    try:
        status = place.lstat()
        mode, stamp = stat.S_IMODE(status.st_mode), stamp_of(status)
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(place)  # noqa: PTH115 - as written, not as a normalized path
            nothing = MemoryContent(b"")
            return File(path=path, size=0, sha256=_EMPTY, mode=mode, kind=Kind.LINK, owner=owner, content=nothing, link=link), stamp
        size, sha256, head = _examined(place)
    except OSError as error:
        raise unreadable(place, error) from error
    kind = identify(path, head)
    return File(path=path, size=size, sha256=sha256, mode=mode, kind=kind, owner=owner, content=DiskContent(place)), stamp


def owner_of(path: str, owners: Mapping[str, str]) -> str:
    """Return the distribution that a RECORD says a file is of, else the folder or file at the top that it is in."""
    return owners.get(path) or path.partition("/")[0]


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp that a file's status holds."""
    return status.st_size, status.st_mtime_ns


def find_owners(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Return the distribution of each file that some dist-info's RECORD in the tree lists; a RECORD nobody can read lists none."""
    owners: dict[str, str] = {}
    for path in files:
        if not path.endswith(".dist-info/RECORD"):
            continue
        owners.update(recorded_files(path, _lines(root / path)))
    return owners


def parents(path: str) -> Iterator[str]:
    """Yield the folders that a path lies in, from the inside out."""
    while path := path.rpartition("/")[0]:
        yield path


def unreadable(place: Path, error: OSError) -> ArtifactError:
    """Return the error that says why something in a folder cannot be read."""
    return ArtifactError(str(place), f"cannot be read: {error.strerror}")


def _batches(root: Path, paths: Iterable[str]) -> list[list[str]]:
    """Return the paths with those of the largest files first, as many together as make up a share of the work."""
    batches: list[list[str]] = []
    room = 0
    for size, path in sorted((-_size(root, path), path) for path in paths):
        if room <= 0 or len(batches[-1]) == _MOST:
            batches.append([])
            room = _SHARE
        batches[-1].append(path)
        room += size
    return batches


def _size(root: Path, path: str) -> int:
    place = f"{root}/{path}"
    try:
        return os.lstat(place).st_size
    except OSError as error:
        raise unreadable(Path(place), error) from error


def _examined(place: Path) -> tuple[int, str, bytes]:
    """Return a file's size, SHA-256 and first bytes; reads it in pieces that stay in a core's cache until they are hashed."""
    digest, buffer, size, head = hashlib.sha256(), bytearray(_PIECE), 0, b""
    view = memoryview(buffer)
    with place.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            head = head or bytes(view[: min(count, HEAD)])
            digest.update(view[:count])
            size += count
    return size, digest.hexdigest(), head


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable(Path(folder), error) from error


def _lines(record: Path) -> Iterable[str]:
    if not record.is_file():  # a link to nowhere, or to what has no end
        return []
    try:
        return io.StringIO(record.read_bytes().decode("utf-8", "surrogateescape"), newline="")
    except OSError:
        return []
