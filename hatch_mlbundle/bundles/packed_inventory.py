"""Read what a finished folder was packed into, an archive or a one-file executable, for the files of the folder's own manifest."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from hatch_mlbundle.bundles.inventory import UNBOUNDED, hashed
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.importpaths import PYZ, is_in_pyz
from hatch_mlbundle.manifest import FileRow, FileState, Manifest

_EMPTY = hashed(iter(()))
_PIECE = 1 << 18
UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What the standard library raises for an archive that is damaged, encrypted, or of a kind that it does not know, beside OSError."""


def packed_files(path: Path, archive_format: str, pool: Executor) -> dict[str, FileState]:
    """Return the files in an archive, without its top folder, or in a one-file executable; raises ArtifactError, MissingLibraryError."""
    if archive_format == "one-file":
        return _unpacked(path, pool)
    read = _zip_files if archive_format == "zip" else _tar_files
    found: dict[str, FileState] = {}
    try:
        for name, state in read(path):
            _, _, below = name.partition("/")
            if below in found:
                raise ArtifactError(str(path), f"holds {name!a} twice")
            found[below] = state
    except UNREADABLE as error:
        raise ArtifactError(str(path), f"cannot be read as {archive_format}: {error}") from error
    except OSError as error:
        raise ArtifactError(str(path), f"cannot be read: {error.strerror or error}") from error
    return found


def expected_files(manifest: Manifest, archive_format: str) -> dict[str, FileState]:
    """Return what a manifest lists of the files in what its folder was packed into, by their paths there.

    In an archive executables are whole; in a one-file executable all lies where the folder of contents was, and there is no other one.
    """
    rows = [row for row in manifest.files if row.after]
    if archive_format == "one-file":
        contents = next((row.path[: row.path.index(f"{PYZ}/")].rpartition("/")[0] for row in rows if is_in_pyz(row.path)), "")
        prefix = f"{contents}/" if contents else ""
        return {row.path.removeprefix(prefix): state for row in rows if row.kind != "frozen" and (state := row.after)}
    inside = _sizes_inside(rows)
    return {row.path: _whole(row, inside) for row in rows if not is_in_pyz(row.path)}


def _sizes_inside(rows: list[FileRow]) -> Mapping[str, int]:
    """Return the bytes of the modules in each executable, by its name."""
    sizes: dict[str, int] = {}
    for row in rows:
        if is_in_pyz(row.path) and row.after:
            name = row.path[: row.path.index(f"{PYZ}/")].rpartition("/")[2]
            sizes[name] = sizes.get(name, 0) + row.after.size
    return sizes


def _whole(row: FileRow, inside: Mapping[str, int]) -> FileState:
    assert row.after  # noqa: S101 - the callers' rows are of files that are there
    size = row.after.size + (inside.get(row.path, 0) if row.kind == "frozen" else 0)
    return FileState(size=size, compressed=None, sha256=row.after.sha256)


def _unpacked(path: Path, pool: Executor) -> dict[str, FileState]:
    from hatch_mlbundle.bundles.onefile import OneFileArtifact, one_file_executable

    with closing(SharedFile(path)) as file:
        executable = one_file_executable(file)
        files = [*OneFileArtifact(executable=executable, pool=pool, limits=UNBOUNDED).unpacked(), *executable.files(pool)]
        return {each.path: FileState(size=each.size, compressed=None, sha256=each.sha256) for each in files}


def _tar_files(path: Path) -> Iterator[tuple[str, FileState]]:
    with path.open("rb") as raw, _decompressed(raw, path.name) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        seen: dict[str, FileState] = {}
        for member in archive:
            if member.isdir():
                continue
            if member.islnk():
                state = seen[member.linkname] if member.linkname in seen else _nothing()
            elif member.isreg():
                state = _state(archive.extractfile(member))
            else:
                state = _nothing()
            seen[member.name] = state
            yield member.name, state


@contextmanager
def _decompressed(raw: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if name.endswith(".zst"):
        from hatch_mlbundle.bundles.archives.zstd_stream import import_zstd

        zstd = import_zstd(f"reading {name}")
        try:
            with zstd.ZstdFile(raw) as stream:
                yield stream
        except zstd.ZstdError as error:
            raise ArtifactError(name, f"cannot be read as zstd: {error}") from error
    else:
        import gzip

        with gzip.open(raw) as stream:
            yield stream  # type: ignore[misc]


def _zip_files(path: Path) -> Iterator[tuple[str, FileState]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
            with archive.open(entry) as stream:
                yield entry.filename, _nothing() if is_link else _state(stream)


def _state(stream: IO[bytes] | None) -> FileState:
    if stream is None:
        return _nothing()
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        while piece := stream.read(_PIECE):
            size += len(piece)
            yield piece

    sha256 = hashed(pieces())
    return FileState(size=size, compressed=None, sha256=sha256)


def _nothing() -> FileState:
    """Return the state of a link: as in a bundle, it has no bytes."""
    return FileState(size=0, compressed=None, sha256=_EMPTY)
