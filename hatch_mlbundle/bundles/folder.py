"""A folder as a bundle: a virtual environment's site-packages, a frozen application, any tree."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Account, Side
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import CHUNK, Bundle, Change, DiskContent, File, Kind, MemoryContent
from hatch_mlbundle.storage import storage_errors

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """The entries of a tree in sorted order: files and links, and folders with their modes. Links are never followed."""

    files: tuple[str, ...]
    folders: Mapping[str, int]


class FolderArtifact:
    """A folder open as an artifact. `pool` hashes and copies its files."""

    kind = "folder"

    def __init__(self, path: Path, pool: Executor) -> None:
        self._path = path.resolve()
        self._pool = pool
        self._listing = _list(self._path)
        self._scanned = Bundle()

    def scan(self) -> Side:
        """Return the files, hashed on all cores; raises ArtifactError where one cannot be read."""
        owners = _owners(self._path, self._listing.files)
        self._scanned = Bundle(self._pool.map(lambda path: _read(self._path, path, owners), self._listing.files))
        return _side(self._scanned)

    def refuses(self, change: Change) -> str | None:
        """Return None: a folder can have any change."""
        return None

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> Iterator[Side]:
        """Write the tree under a temporary name beside `target`.

        Files that did not change are hard links to the old ones where the target is this folder itself, else copies.
        """
        target = target.resolve()
        partial, former = (target.with_name(f".{target.name}.{os.getpid()}.mlbundle-{what}") for what in ("partial", "former"))
        with storage_errors(target):
            shutil.rmtree(partial, ignore_errors=True)
            try:
                self._write_tree(bundle, partial, linking=target == self._path)
                yield _side(bundle)
                _swap(partial, target, former)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)

    def _write_tree(self, bundle: Bundle, root: Path, *, linking: bool) -> None:
        root.mkdir(parents=True)
        kept = {folder for path in bundle for folder in _parents(path)} | self._empty_folders()
        for folder in sorted(kept):
            (root / folder).mkdir(parents=True, exist_ok=True)
        list(self._pool.map(lambda file: self._write_file(file, root / file.path, linking=linking), bundle.values()))
        for folder in sorted(kept & set(self._listing.folders), reverse=True):
            (root / folder).chmod(self._listing.folders[folder])
        root.chmod(stat.S_IMODE(self._path.stat().st_mode))

    def _empty_folders(self) -> set[str]:
        full = {folder for path in self._listing.files for folder in _parents(path)}
        return set(self._listing.folders) - full

    def _write_file(self, file: File, target: Path, *, linking: bool) -> None:
        if file.link is not None:
            target.symlink_to(file.link)
            return
        original = self._scanned.get(file.path)
        unchanged = original is not None and original.content is file.content
        if linking and unchanged and _link(self._path / file.path, target):
            return
        with target.open("xb", buffering=0) as stream:
            for chunk in file.content.chunks():
                stream.write(chunk)
        if original is not None:
            shutil.copystat(self._path / file.path, target)
        target.chmod(file.mode)


def tree_digest(bundle: Bundle) -> str:
    """Return the SHA-256, in hex, of one line for each file in sorted order: hash or link target, mode in octal, path."""
    digest = hashlib.sha256()
    for path in sorted(bundle):
        file = bundle[path]
        digest.update(f"{file.sha256 if file.link is None else '-> ' + file.link} {file.mode:o} {path}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _side(bundle: Bundle) -> Side:
    return Side(bundle=bundle, account=Account(size=bundle.size, sha256=tree_digest(bundle), structure=0, compressed=None))


def _list(root: Path) -> _Listing:
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
    return _Listing(files=tuple(sorted(files)), folders=folders)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ArtifactError(str(folder), f"cannot be read: {error.strerror}") from error


def _read(root: Path, path: str, owners: Mapping[str, str]) -> File:
    place = root / path
    owner = owners.get(path) or path.partition("/")[0]
    try:
        mode = stat.S_IMODE(place.lstat().st_mode)
        if place.is_symlink():
            link = os.readlink(place)  # noqa: PTH115 - as written, not as a normalized path
            return File(path=path, size=0, sha256=_EMPTY, mode=mode, kind=Kind.LINK, owner=owner, content=MemoryContent(b""), link=link)
        size, sha256, head = _measure(place)
    except OSError as error:
        raise ArtifactError(str(place), f"cannot be read: {error.strerror}") from error
    return File(path=path, size=size, sha256=sha256, mode=mode, kind=identify(path, head), owner=owner, content=DiskContent(place))


def _measure(path: Path) -> tuple[int, str, bytes]:
    """Return a file's size, hash and first bytes, all from one reading."""
    digest, size, head = hashlib.sha256(), 0, b""
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            head = head or chunk[:HEAD]
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest(), head


def _owners(root: Path, files: tuple[str, ...]) -> dict[str, str]:
    """Return the distribution of each file that some dist-info's RECORD in the tree lists."""
    owners: dict[str, str] = {}
    for path in files:
        if not path.endswith(".dist-info/RECORD"):
            continue
        folder, _, info = path.removesuffix("/RECORD").rpartition("/")
        name = info.removesuffix(".dist-info").rpartition("-")[0]
        text = (root / path).read_text(encoding="utf-8", errors="surrogateescape")
        for row in csv.reader(text.splitlines()):
            if row:
                owners[os.path.normpath(f"{folder}/{row[0]}" if folder else row[0]).replace(os.sep, "/")] = name
    return owners


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True


def _swap(new: Path, target: Path, former: Path) -> None:
    """Put `new` in the target's place; what was there is `former` until the new one stands."""
    if not target.exists():
        new.rename(target)
        return
    target.rename(former)
    try:
        new.rename(target)
    except BaseException:
        former.rename(target)
        raise
