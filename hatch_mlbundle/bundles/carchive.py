"""Read the CArchive that PyInstaller puts into its executables; every header is checked before it is believed.

Format: PyInstaller's `archive/writers.py` and `archive/readers.py` (`CArchiveWriter`, `CArchiveReader`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hatch_mlbundle.model import Content

from .joined import InflatedContent, RangeContent
from .member_names import name_fault
from .shared_file import SharedFile

MAGIC = b"MEI\014\013\012\013\016"
COOKIE = struct.Struct("!8sIIII64s")
"""Magic, bytes of the archive with this cookie, offset and bytes of the table, Python's release as 100 * major + minor, its library."""

PYZ, BINARY, DATA, SYMLINK, OPTION, DEPENDENCY = "z", "b", "x", "n", "o", "d"
"""Types of entries: the modules, files with and without the executable bit, links, options of the bootloader, other executables."""
SCRIPT = "s"
"""Type of the entries that are marshalled code, which the bootloader runs in `__main__` one after the other."""
EXTRACTED = (BINARY, DATA, SYMLINK, "Z")
"""Types of entries that a one-file executable unpacks when it starts."""

_ENTRY = struct.Struct("!IIIIBc")
"""Bytes of the entry with its name, offset, bytes stored and unpacked, whether compressed (zlib), type."""
_TYPES = frozenset("bdzZMmsxoln")
_ALIGNMENT = 16
_SEARCHED = 1 << 20
"""Bytes at a file's end among which the cookie is looked for: section headers or a signature may follow it."""
_MAX_TABLE = 1 << 25
"""Bytes of a table that no archive has: 4 GiB of small files need as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry: `stored` bytes from `offset` (in the file) on, which unpack to `size` bytes where it is `compressed`."""

    name: str
    type: str
    offset: int
    stored: int
    size: int
    compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CArchive:
    """An archive in a file, from `start` to `end`: the release of Python (3.11 is 311), the name of its library, the entries."""

    start: int
    end: int
    python: int
    library: bytes
    entries: tuple[Entry, ...]

    @property
    def contents_folder(self) -> str:
        """The folder beside the executable in which a one-folder bundle has its files, "" where they lie beside it."""
        options = (entry.name.partition(" ") for entry in self.entries if entry.type == OPTION)
        return next((value for name, _, value in options if name == "pyi-contents-directory"), "")

    @property
    def is_one_file(self) -> bool:
        """Whether the executable unpacks files when it starts."""
        return any(entry.type in EXTRACTED for entry in self.entries)


def find_carchive(file: SharedFile) -> CArchive | None:
    """Return the archive in a file, None where there is none; raises ArtifactError where there is one that is damaged."""
    length = min(file.size, _SEARCHED)
    tail = file.read_at(file.size - length, length)
    place = tail.rfind(MAGIC)
    if place < 0:
        return None
    if len(tail) - place < COOKIE.size:
        raise file.damaged("has a PyInstaller archive whose end is missing")
    _, size, table, table_size, python, library = COOKIE.unpack_from(tail, place)
    end = file.size - length + place + COOKIE.size
    start = end - size
    if start < 0 or table + table_size + COOKIE.size != size or table_size > _MAX_TABLE:
        raise file.damaged("has a PyInstaller archive whose sizes do not add up")
    entries = tuple(_entries(file, start, file.read_at(start + table, table_size)))
    _check_entries(file, entries, start, start + table)
    archive = CArchive(start=start, end=end, python=python, library=library.rstrip(b"\0"), entries=entries)
    contents = archive.contents_folder
    if contents and ("/" in contents or name_fault(contents)):
        raise file.fault(f"has its files in {contents!a}, which is no folder beside it")
    return archive


def content_of(file: SharedFile, entry: Entry, limit: int) -> Content:
    """Return an entry's bytes as they are unpacked: at most `limit` where it is compressed."""
    if entry.compressed:
        return InflatedContent(file, entry.offset, entry.stored, limit)
    return RangeContent(file, entry.offset, entry.stored)


def write_table(entries: Iterable[Entry], start: int) -> bytes:
    """Return the table of contents of an archive that begins at `start`."""
    rows = []
    for entry in entries:
        name = entry.name.encode() + b"\0"
        name += bytes(-(_ENTRY.size + len(name)) % _ALIGNMENT)
        sizes = (entry.offset - start, entry.stored, entry.size, int(entry.compressed))
        rows.append(_ENTRY.pack(_ENTRY.size + len(name), *sizes, entry.type.encode()) + name)
    return b"".join(rows)


def write_cookie(archive: CArchive, table: int, table_size: int) -> bytes:
    """Return the cookie of an archive like this one whose table, `table_size` bytes, stands at the offset `table` in it."""
    return COOKIE.pack(MAGIC, table + table_size + COOKIE.size, table, table_size, archive.python, archive.library)


def _entries(file: SharedFile, start: int, table: bytes) -> Iterator[Entry]:
    at = 0
    while at < len(table):
        if len(table) - at < _ENTRY.size:
            raise file.damaged("has a PyInstaller archive whose table ends too early")
        length, offset, stored, size, compressed, kind = _ENTRY.unpack_from(table, at)
        if not _ENTRY.size < length <= len(table) - at:
            raise file.damaged("has a PyInstaller archive with an entry of an impossible length")
        try:
            name, type_ = table[at + _ENTRY.size : at + length].rstrip(b"\0").decode(), kind.decode("ascii")
        except UnicodeDecodeError as error:
            raise file.damaged("has a PyInstaller archive with a name that is no UTF-8") from error
        if type_ not in _TYPES:
            raise file.fault(f"has a PyInstaller archive with an entry {name!a} of the unknown type {type_!a}")
        yield Entry(name=name, type=type_, offset=start + offset, stored=stored, size=size, compressed=bool(compressed))
        at += length


def _check_entries(file: SharedFile, entries: Iterable[Entry], start: int, end: int) -> None:
    at = start
    for entry in sorted((each for each in entries if each.stored), key=lambda each: each.offset):
        if entry.offset < at or entry.offset + entry.stored > end:
            raise file.damaged(f"has a PyInstaller archive whose entry {entry.name!a} lies outside of it, or in another one")
        if not entry.compressed and entry.stored != entry.size:
            raise file.damaged(f"has a PyInstaller archive whose entry {entry.name!a} has two sizes")
        at = entry.offset + entry.stored
