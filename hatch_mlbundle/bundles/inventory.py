"""Read an artifact for what a manifest says of it: each byte once, on all cores, whatever is wrong with it told and not raised.

Nothing is taken from a cache, and nothing that a manifest says is believed while reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from hatch_mlbundle.bundles.executable import open_executables
from hatch_mlbundle.bundles.folder import tree_digest
from hatch_mlbundle.bundles.folder_scan import list_tree, scan_files, stamp_of, unreadable
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.bundles.zip_reader import Limits, ZipMember, ZipReader
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.manifest import FileState
from hatch_mlbundle.matching import Inventory
from hatch_mlbundle.model import Bundle

UNBOUNDED = Limits(max_ratio=1 << 20, max_size=1 << 62)
"""What is read is thrown away at once: it fills neither memory nor disk, however much it is."""

_PIECE = 1 << 18
"""Bytes that are read and hashed at a time: they stay in a core's cache."""


def read_wheel(path: Path, pool: Executor) -> Inventory:
    """Return what is in a wheel, whatever its RECORD says; raises ArtifactError where the file cannot be read, or changes."""
    return _read_file(path, pool, _wheel_files)


def read_one_file(path: Path, pool: Executor) -> Inventory:
    """Return what is in a one-file executable of PyInstaller; raises ArtifactError where the file cannot be read, or changes."""
    return _read_file(path, pool, _one_file_files)


def read_folder(root: Path, pool: Executor, *, frozen: bool) -> Inventory:
    """Return what is in a folder; of a `frozen` one also the modules in its executables. Raises ArtifactError where it changes."""
    listing = list_tree(root)
    scanned = list(scan_files(root, listing.files, {}, pool))
    bundle = Bundle(file for file, _ in scanned)
    files = {path: FileState(size=file.size, compressed=None, sha256=file.sha256) for path, file in bundle.items()}
    faults: dict[str, str] = {}
    if frozen:
        try:
            files |= _modules(root, bundle, pool)
        except ArtifactError as error:
            faults[Path(error.artifact).name] = error.problem
    for file, stamp in scanned:
        place = root / file.path
        try:
            if stamp_of(place.lstat()) != stamp:
                raise _changed(place)
        except OSError as error:
            raise unreadable(place, error) from error
    if list_tree(root) != listing:
        raise _changed(root)
    return Inventory(
        name=root.name,
        size=bundle.size,
        sha256=tree_digest(bundle),
        files=files,
        structure=0,
        unreadable=faults,
        opaque=bool(faults),
    )


def read_image(path: Path, pool: Executor) -> Inventory | None:
    """Return what is in a container image, None where there is none; raises ArtifactError where it is damaged."""
    from hatch_mlbundle.bundles.images.artifact import open_image  # costs time, and few artifacts are images

    image = open_image(path, pool, UNBOUNDED)
    if image is None:
        return None
    side = image.scan()
    account, compressed = side.account, side.account.compressed or {}
    return Inventory(
        name=path.name,
        size=account.size,
        sha256=account.sha256,
        structure=account.structure,
        files={name: FileState(size=file.size, compressed=compressed[name], sha256=file.sha256) for name, file in side.bundle.items()},
        layers=tuple((layer.digest, layer.size) for layer in side.layers),
    )


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size and SHA-256, in hex, of a file; raises ArtifactError where it cannot be read, or changes meanwhile."""
    with _steady(path) as file:
        return file.size, hashed(file.chunks(0, file.size, _PIECE))


def _read_file(path: Path, pool: Executor, read: Callable[[SharedFile, Executor], Inventory]) -> Inventory:
    """Read what is in a file while the file itself is hashed."""
    with _steady(path) as file:
        whole = pool.submit(lambda: hashed(file.chunks(0, file.size, _PIECE)))
        try:
            found = read(file, pool)
        except ArtifactError as error:
            found = Inventory(name=path.name, size=file.size, sha256=None, files=None, fault=error)
        return replace(found, sha256=whole.result())


@contextmanager
def _steady(path: Path) -> Iterator[SharedFile]:
    """Give a file open for reading; raises ArtifactError where it is another one, or was written to, when the body ends."""
    with closing(SharedFile(path)) as file:
        before = _stamp(path)
        yield file
        if _stamp(path) != before:
            raise _changed(path)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return status.st_dev, status.st_ino, *stamp_of(status)


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(str(path), "changed while it was read; run it again when nothing writes there")


def _wheel_files(file: SharedFile, pool: Executor) -> Inventory:
    archive = ZipReader(file.path, UNBOUNDED)
    with closing(archive):
        members = sorted(archive.members.values(), key=lambda member: -member.size)
        read = dict(zip((member.path for member in members), pool.map(_member_hash, members), strict=True))
        faults = {path: error.problem for path, error in read.items() if isinstance(error, ArtifactError)}
        states = {
            path: FileState(size=member.size, compressed=member.compressed_size, sha256=str(read[path]))
            for path, member in archive.members.items()
        }
    return Inventory(name=file.path.name, size=file.size, sha256=None, structure=archive.structure_size, files=states, unreadable=faults)


def _member_hash(member: ZipMember) -> str | ArtifactError:
    try:
        return hashed(member.chunks())
    except ArtifactError as error:
        return error


def _one_file_files(file: SharedFile, pool: Executor) -> Inventory:
    from hatch_mlbundle.bundles.onefile import OneFileArtifact, one_file_executable

    side = OneFileArtifact(executable=one_file_executable(file), pool=pool, limits=UNBOUNDED).scan()
    compressed = side.account.compressed or {}
    return Inventory(
        name=file.path.name,
        size=file.size,
        sha256=None,
        structure=side.account.structure,
        files={path: FileState(size=each.size, compressed=compressed[path], sha256=each.sha256) for path, each in side.bundle.items()},
    )


def _modules(root: Path, bundle: Bundle, pool: Executor) -> Mapping[str, FileState]:
    """Return the modules in a folder's executables, and what is left of each of these."""
    states: dict[str, FileState] = {}
    with open_executables(root) as executables:
        for path, executable in executables.items():
            modules = executable.files(pool)
            states |= {each.path: FileState(size=each.size, compressed=None, sha256=each.sha256) for each in modules}
            rest = bundle[path].size - sum(each.size for each in modules)
            states[path] = FileState(size=rest, compressed=None, sha256=bundle[path].sha256)
    return states


def hashed(chunks: Iterator[bytes]) -> str:
    """Return the SHA-256 of bytes that come in pieces, in hex."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
