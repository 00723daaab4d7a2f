"""Pack a finished folder into an archive, with its checksum beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hatch_mlbundle.atomic import replace_atomically
from hatch_mlbundle.config import ArchiveFormat, PackingSettings
from hatch_mlbundle.epoch import source_date_epoch
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.manifest import PackedRow
from hatch_mlbundle.progress import Progress, Silence

from .gzip_stream import write_gzip
from .tar_stream import tar_chunks, tar_size
from .tree import Member, read_tree
from .zip_archive import check_names, write_zip
from .zstd_stream import load_zstd, write_zstd

CHECKSUM = ".sha256"
"""Ends the name of the file beside an archive that `sha256sum -c` reads."""

_MEGABYTE = 10**6


def archive_of(folder: Path, archive_format: ArchiveFormat) -> Path:
    """Return where the archive of a folder stands: beside it, `app.tar.zst` for `app`."""
    root = folder.resolve()
    return root.with_name(f"{root.name}.{archive_format}")


def check_formats(formats: Iterable[ArchiveFormat]) -> None:
    """Raise MissingLibraryError where an archive of one of these formats cannot be made: before the long work begins."""
    if "tar.zst" in formats:
        load_zstd()


def archive_libraries(formats: Iterable[ArchiveFormat]) -> dict[str, str]:
    """Return the libraries that archives of these formats need beside those of every artifact, name to release.

    Raises MissingLibraryError.
    """
    return {"zstd": load_zstd().zstd_version} if "tar.zst" in formats else {}


def pack(
    folder: Path,
    target: Path,
    archive_format: ArchiveFormat,
    settings: PackingSettings,
    *,
    workers: int,
    name: str | None = None,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> PackedRow:
    """Write the archive `target` of a folder and its checksum beside it, as `packing` does, and put both in their place at once."""
    with packing(folder, target, archive_format, settings, workers=workers, name=name, progress=progress, scratch=scratch) as packed:
        return packed


@contextmanager
def packing(
    folder: Path,
    target: Path,
    archive_format: ArchiveFormat,
    settings: PackingSettings,
    *,
    workers: int,
    name: str | None = None,
    progress: Progress | None = None,
    scratch: Path | None = None,
) -> Iterator[PackedRow]:
    """Write an archive of a folder and its checksum; they take their place when the body ends without an error.

    All of it lies below one top folder called `name`, or like the folder. The bytes depend on the names in the tree, the files'
    bytes, link targets, which files are executable, the settings, SOURCE_DATE_EPOCH and the libraries' releases alone.
    `scratch` is where streams of large files wait for a zip archive. Raises ArtifactError for a tree that cannot be packed,
    MissingLibraryError, StorageError; the former archive then stays.
    """
    if target.resolve().is_relative_to(folder.resolve()):
        raise ArtifactError(str(target), f"is inside {folder}, which it is to hold; choose a place outside of it")
    check_formats([archive_format])
    members = read_tree(folder, name)
    told = _Megabytes(progress or Silence(), f"packing {target.name}")
    with replace_atomically(target) as stream:
        sink = _Sink(stream)
        if archive_format == "zip":
            check_names(members)
            told.start(sum(member.size for member in members))
            level, mtime = settings.zip_level, source_date_epoch()
            write_zip(members, sink, level=level, workers=workers, mtime=mtime, advance=told.advance, scratch=scratch)
        else:
            _write_tar(members, sink.write, archive_format, settings, workers, told)
        packed = PackedRow(name=target.name, format=archive_format, size=sink.size, sha256=sink.digest.hexdigest())
        with replace_atomically(target.with_name(target.name + CHECKSUM)) as checksum:
            checksum.write(checksum_line(packed).encode())
            yield packed


def checksum_line(packed: PackedRow) -> str:
    """Return the line for an archive as coreutils' sha256sum writes it: a backslash in front says that the name is escaped."""
    name = packed.name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if name == packed.name else "\\"
    return f"{mark}{packed.sha256}  {name}\n"


def _write_tar(
    members: Sequence[Member],
    write: Callable[[bytes], object],
    archive_format: ArchiveFormat,
    settings: PackingSettings,
    workers: int,
    told: _Megabytes,
) -> None:
    mtime = source_date_epoch()
    size = tar_size(members, mtime)
    told.start(size)
    chunks = _counted(tar_chunks(members, mtime), told)
    if archive_format == "tar.zst":
        write_zstd(chunks, write, size=size, level=settings.zstd_level, window=settings.zstd_window, workers=workers)
    else:
        write_gzip(chunks, write, level=settings.gzip_level, workers=workers)


def _counted(chunks: Iterable[bytes], told: _Megabytes) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        told.advance(len(chunk))


class _Sink:
    """A file that is written from its beginning to its end, and what went into it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self.digest.update(data)
        self.size += len(data)
        return len(data)


class _Megabytes:
    """Tells a Progress of bytes in megabytes, which a person can read."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._what = what
        self._bytes = 0

    def start(self, total: int) -> None:
        self._progress.start(self._what, total // _MEGABYTE)

    def advance(self, units: int) -> None:
        before, self._bytes = self._bytes, self._bytes + units
        self._progress.advance(self._bytes // _MEGABYTE - before // _MEGABYTE)
