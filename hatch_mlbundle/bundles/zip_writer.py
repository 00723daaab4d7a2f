"""Write a zip archive of streams that are compressed already: the same members give the same bytes, on any machine."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from .zip_format import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    U16_MAX,
    U32_MAX,
    UTF8,
    CentralHeader,
    End64Record,
    EndRecord,
    LocalHeader,
    Locator,
    narrow,
    zip64_field,
)

_MADE_BY_UNIX = 3 << 8
_VERSION = 20
_VERSION_ZIP64 = 45
_MSDOS_FOLDER = 1 << 4  # the external attribute by which readers that know no Unix tell a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipEntry:
    """What the headers say of one member: sizes in bytes, `date` and `time` as MS-DOS has them, permission bits in `mode`.

    `type` holds the type bits that Unix has in st_mode. The path of a folder ends with a slash; a symbolic link's data is its target.
    """

    path: str
    size: int
    compressed_size: int
    crc32: int
    method: int
    date: int
    time: int
    mode: int
    type: int = stat.S_IFREG


class Sink(Protocol):
    """Whatever takes an archive's bytes from the first to the last."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class ZipWriter:
    """Writes members one after the other to `stream`, an empty file; `close` adds the central directory.

    `size` is the number of bytes written, `structure_size` how many of them are no member's data. Zip64 fields come in only
    where a number needs them.
    """

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self._directory: list[bytes] = []
        self.size = 0
        self.structure_size = 0

    def add(self, entry: ZipEntry, chunks: Iterable[bytes]) -> None:
        """Write a member whose compressed bytes are `chunks`; raises RuntimeError where they are not as long as declared."""
        name, flags = encoded_name(entry.path)
        offset = self.size
        self._write_structure(local_header(entry, name, flags))
        start = self.size
        for chunk in chunks:
            self._stream.write(chunk)
            self.size += len(chunk)
        if self.size - start != entry.compressed_size:
            raise RuntimeError(f"{entry.path}: {self.size - start} compressed bytes where {entry.compressed_size} were declared")
        self._directory.append(central_header(entry, name, flags, offset))

    def close(self) -> None:
        """Write the central directory; the stream stays open."""
        start = self.size
        for header in self._directory:
            self._write_structure(header)
        self._write_structure(end_of_archive(len(self._directory), self.size - start, start))

    def _write_structure(self, data: bytes) -> None:
        self._stream.write(data)
        self.size += len(data)
        self.structure_size += len(data)


def encoded_name(path: str) -> tuple[bytes, int]:
    """Return a member's name as headers have it, and the flags that go with it."""
    return (path.encode("ascii"), 0) if path.isascii() else (path.encode("utf-8"), UTF8)


def local_header(entry: ZipEntry, name: bytes, flags: int, padding: bytes = b"") -> bytes:
    """Return what stands before a member's data; `padding` is a whole extra field."""
    sizes, extra = (entry.size, entry.compressed_size), b""
    if max(sizes) >= U32_MAX:  # here the field holds both sizes or none (APPNOTE.TXT 4.5.3)
        sizes, extra = (U32_MAX, U32_MAX), zip64_field(sizes)
    version = _VERSION_ZIP64 if extra else _VERSION
    extra += padding
    header = LocalHeader(
        signature=LOCAL_SIGNATURE,
        version_needed=version,
        flags=flags,
        method=entry.method,
        time=entry.time,
        date=entry.date,
        crc32=entry.crc32,
        size=sizes[0],
        compressed_size=sizes[1],
        name_length=len(name),
        extra_length=len(extra),
    )
    return LOCAL.pack(*header) + name + extra


def central_header(entry: ZipEntry, name: bytes, flags: int, offset: int) -> bytes:
    """Return a member's entry in the central directory; its local header lies at `offset`."""
    (size, compressed_size, narrow_offset), extra = narrow((entry.size, entry.compressed_size, offset))
    version = _VERSION_ZIP64 if extra else _VERSION
    header = CentralHeader(
        signature=CENTRAL_SIGNATURE,
        version_made_by=_MADE_BY_UNIX | version,
        version_needed=version,
        flags=flags,
        method=entry.method,
        time=entry.time,
        date=entry.date,
        crc32=entry.crc32,
        compressed_size=compressed_size,
        size=size,
        name_length=len(name),
        extra_length=len(extra),
        comment_length=0,
        disk=0,
        internal_attributes=0,
        external_attributes=(entry.type | entry.mode) << 16 | (_MSDOS_FOLDER if entry.type == stat.S_IFDIR else 0),
        offset=narrow_offset,
    )
    return CENTRAL.pack(*header) + name + extra


def end_of_archive(entries: int, size: int, offset: int) -> bytes:
    """Return what follows a central directory of so many entries and bytes, which begins at `offset`."""
    zip64 = _end64(entries, size, offset) if entries >= U16_MAX or max(size, offset) >= U32_MAX else b""
    count = min(entries, U16_MAX)
    return zip64 + END.pack(*EndRecord(END_SIGNATURE, 0, 0, count, count, min(size, U32_MAX), min(offset, U32_MAX), 0))


def _end64(entries: int, size: int, offset: int) -> bytes:
    record = End64Record(
        signature=END64_SIGNATURE,
        record_size=END64.size - 12,
        version_made_by=_MADE_BY_UNIX | _VERSION_ZIP64,
        version_needed=_VERSION_ZIP64,
        disk=0,
        directory_disk=0,
        disk_entries=entries,
        entries=entries,
        directory_size=size,
        directory_offset=offset,
    )
    return END64.pack(*record) + LOCATOR.pack(*Locator(LOCATOR_SIGNATURE, 0, offset + size, 1))
