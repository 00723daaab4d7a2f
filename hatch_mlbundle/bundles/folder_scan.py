"""Read a folder: what is in it, whose it is, and what was true of each file when it was hashed."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.bundles.joined import examined
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.identify import identify
from hatch_mlbundle.model import DiskContent, File, Kind, MemoryContent

Stamp: TypeAlias = tuple[int, int]
"""A file's size in bytes and its modification time in nanoseconds: where they are as before, nobody wrote to it."""

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The entries of a tree in sorted order: files and links, and folders with their modes. Links are never followed."""

    files: tuple[str, ...]
    folders: Mapping[str, int]

    def empty_folders(self) -> set[str]:
        """Return the folders with no file anywhere in them."""
        return set(self.folders) - {folder for path in self.files for folder in parents(path)}


def list_tree(root: Path) -> Listing:
    """Return what is in a folder; raises ArtifactError where something cannot be read, or is a device, pipe or socket."""
    files: list[str] = []
    folders: dict[str, int] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink() or entry.is_file():
                files.append(path)
            elif entry.is_dir():
                folders[path] = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                waiting.append(path)
            else:
                raise ArtifactError(str(root / path), "is neither file, folder nor link; take it out")
    return Listing(files=tuple(sorted(files)), folders=folders)


def scan_file(root: Path, path: str, owners: Mapping[str, str]) -> tuple[File, Stamp]:
    """Return a file, hashed, and its stamp from just before; raises ArtifactError where it cannot be read."""
    place = root / path
    owner = owners.get(path) or path.partition("/")[0]
    try:
        status = place.lstat()
        mode, stamp = stat.S_IMODE(status.st_mode), stamp_of(status)
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(place)  # noqa: PTH115 - as written, not as a normalized path
            nothing = MemoryContent(b"")
            return File(path=path, size=0, sha256=_EMPTY, mode=mode, kind=Kind.LINK, owner=owner, content=nothing, link=link), stamp
        size, sha256, head = examined(DiskContent(place))
    except OSError as error:
        raise ArtifactError(str(place), f"cannot be read: {error.strerror}") from error
    kind = identify(path, head)
    return File(path=path, size=size, sha256=sha256, mode=mode, kind=kind, owner=owner, content=DiskContent(place)), stamp


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp that a file's status holds."""
    return status.st_size, status.st_mtime_ns


def find_owners(root: Path, files: tuple[str, ...]) -> dict[str, str]:
    """Return the distribution of each file that some dist-info's RECORD in the tree lists; a RECORD nobody can read lists none."""
    owners: dict[str, str] = {}
    for path in files:
        if not path.endswith(".dist-info/RECORD"):
            continue
        folder, _, info = path.removesuffix("/RECORD").rpartition("/")
        name = info.removesuffix(".dist-info").rpartition("-")[0]
        for listed in _listed(root / path):
            owners[os.path.normpath(f"{folder}/{listed}" if folder else listed).replace(os.sep, "/")] = name
    return owners


def parents(path: str) -> Iterator[str]:
    """Yield the folders that a path lies in, from the inside out."""
    while path := path.rpartition("/")[0]:
        yield path


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ArtifactError(str(folder), f"cannot be read: {error.strerror}") from error


def _listed(record: Path) -> list[str]:
    if not record.is_file():  # a link to nowhere, or to what has no end
        return []
    try:
        with record.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return [row[0] for row in csv.reader(stream) if row]
    except (OSError, csv.Error):
        return []
