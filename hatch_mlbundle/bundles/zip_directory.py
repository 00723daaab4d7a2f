"""Find and read a zip archive's central directory, believing nothing (PKWARE APPNOTE.TXT 6.3.10, sections 4.3.12 to 4.3.16)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .shared_file import SharedFile
from .zip_format import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    U16_MAX,
    U32_MAX,
    UTF8,
    CentralHeader,
    End64Record,
    EndRecord,
    Locator,
    widen,
)

_LARGEST = 1 << 28
"""Bytes of central directory that are read at most: over a million members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralEntry:
    """What the central directory says of one member; `offset` is where its local header begins, sizes are in bytes."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    time: int
    date: int
    crc32: int
    compressed_size: int
    size: int
    offset: int
    external_attributes: int

    @property
    def is_folder(self) -> bool:
        """Whether the entry stands for a folder: its name ends with a slash (4.4.17)."""
        return self.name.endswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralDirectory:
    """The entries in their order, and where the directory begins in the file."""

    entries: tuple[CentralEntry, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class _Extent:
    offset: int
    size: int
    entries: int
    end: int


def read_central_directory(file: SharedFile) -> CentralDirectory:
    """Return the central directory of a zip archive; raises ArtifactError where it is none, cut, or disagrees with itself."""
    extent = _locate(file)
    if extent.offset + extent.size != extent.end:
        raise file.damaged("is no sound zip archive: its central directory is not where the end record says")
    if extent.size > _LARGEST:
        raise file.fault(f"has a central directory of {extent.size} bytes; mlbundle reads {_LARGEST} at most")
    entries = tuple(_entries(file, file.read_at(extent.offset, extent.size)))
    if len(entries) != extent.entries:
        raise file.damaged(f"lists {len(entries)} members where its end record counts {extent.entries}")
    return CentralDirectory(entries=entries, offset=extent.offset)


def _locate(file: SharedFile) -> _Extent:
    if file.size == 0:
        raise file.damaged("is empty")
    tail_size = min(file.size, END.size + U16_MAX)
    tail = file.read_at(file.size - tail_size, tail_size)
    start = tail.rfind(END_SIGNATURE, 0, max(0, len(tail) - END.size + len(END_SIGNATURE)))
    if start < 0:
        raise file.damaged("is not a zip archive, or is cut short: it has no end of central directory record")
    end = EndRecord._make(END.unpack_from(tail, start))
    if start + END.size + end.comment_length != len(tail):
        raise file.damaged("does not end where its archive comment does")
    if end.disk or end.directory_disk or end.disk_entries != end.entries:
        raise file.fault("is one part of a zip archive in several; join the parts first")
    position = file.size - len(tail) + start
    return _locate_zip64(file, end, position) or _Extent(end.directory_offset, end.directory_size, end.entries, position)


def _locate_zip64(file: SharedFile, end: EndRecord, position: int) -> _Extent | None:
    """Follow the zip64 locator right before the end record, where there is one (4.3.15)."""
    if position < LOCATOR.size + END64.size:
        return None
    locator = Locator._make(LOCATOR.unpack(file.read_at(position - LOCATOR.size, LOCATOR.size)))
    if locator.signature != LOCATOR_SIGNATURE:
        return None
    locator_position = position - LOCATOR.size
    if locator.end64_offset > locator_position - END64.size:
        raise file.damaged("has a zip64 locator that points past itself")
    end64 = End64Record._make(END64.unpack(file.read_at(locator.end64_offset, END64.size)))
    if end64.signature != END64_SIGNATURE or locator.end64_offset + 12 + end64.record_size != locator_position:
        raise file.damaged("has a zip64 locator that points to no zip64 end record")
    narrow = ((end.entries, U16_MAX), (end.directory_size, U32_MAX), (end.directory_offset, U32_MAX))
    wide = (end64.entries, end64.directory_size, end64.directory_offset)
    if any(value not in (limit, exact) for (value, limit), exact in zip(narrow, wide, strict=True)):
        raise file.damaged("has two end records that disagree")
    if end64.disk or end64.directory_disk or end64.disk_entries != end64.entries:
        raise file.fault("is one part of a zip archive in several; join the parts first")
    return _Extent(end64.directory_offset, end64.directory_size, end64.entries, locator.end64_offset)


def _entries(file: SharedFile, directory: bytes) -> Iterator[CentralEntry]:
    position = 0
    while position < len(directory):
        if len(directory) - position < CENTRAL.size:
            raise file.damaged("has a central directory that is cut short")
        header = CentralHeader._make(CENTRAL.unpack_from(directory, position))
        name_start = position + CENTRAL.size
        extra_start = name_start + header.name_length
        comment_start = extra_start + header.extra_length
        position = comment_start + header.comment_length
        if header.signature != CENTRAL_SIGNATURE or position > len(directory):
            raise file.damaged("has a central directory that is cut short or overwritten")
        yield _entry(file, header, directory[name_start:extra_start], directory[extra_start:comment_start])


def _entry(file: SharedFile, header: CentralHeader, raw_name: bytes, extra: bytes) -> CentralEntry:
    try:
        name = raw_name.decode("utf-8" if header.flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        raise file.fault(f"has a member whose name is not UTF-8 though it says so: {raw_name!r}; rename the file and build again") from None
    if header.disk not in (0, U16_MAX):
        raise file.fault(f"has a member in another part of the archive: {name!r}; join the parts first")
    try:
        size, compressed_size, offset = widen((header.size, header.compressed_size, header.offset), extra)
    except ValueError as error:
        raise file.damaged(f"member {name!r}: {error}") from None
    return CentralEntry(
        name=name,
        raw_name=raw_name,
        flags=header.flags,
        method=header.method,
        time=header.time,
        date=header.date,
        crc32=header.crc32,
        compressed_size=compressed_size,
        size=size,
        offset=offset,
        external_attributes=header.external_attributes,
    )
