"""Read the headers of a Windows library or executable, and prove that a stripped one is the same program.

Layout after Microsoft's "PE Format": COFF File Header, Optional Header, Section Table, COFF Symbol Table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import BinaryError, UnsoundResultError

from .ranges import Range
from .reader import RangeReader, Reader

_COFF = struct.Struct("<HHIIIHH")
_SECTION = struct.Struct("<8sIIIIIIHHI")
_DEBUG_ENTRY = struct.Struct("<IIHHIIII")
_SYMBOL_SIZE = 18
_MAX_SECTIONS = 96 * 1024
_SECURITY, _DEBUG = 4, 6
_STRIPPED_FLAGS = 0x020C
"""IMAGE_FILE_LINE_NUMS_STRIPPED, LOCAL_SYMS_STRIPPED, DEBUG_STRIPPED: what a strip sets."""


@dataclass(frozen=True, slots=True)
class PeSection:
    """A section: its place in memory and in the file, in bytes."""

    name: str
    virtual_size: int
    address: int
    size: int
    offset: int
    flags: int

    @property
    def is_debug(self) -> bool:
        """Whether it holds debug data (DWARF, as MinGW writes it; MSVC's is in a file of its own)."""
        return self.name.startswith((".debug", ".zdebug", ".stab"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pe:
    """What a PE file's headers say.

    `fixed` is what no strip changes: machine, characteristics, entry point, addresses, subsystem. `directories` are address
    and size of the export table, import table and so on. `symbols` are the bytes of symbols and their names, `payload` those
    after everything that the headers know of. Offsets and sizes in bytes.
    """

    fixed: tuple[bytes | int, ...]
    sections: tuple[PeSection, ...]
    directories: tuple[tuple[int, int], ...]
    symbols: int
    payload: int

    @property
    def is_signed(self) -> bool:
        """Whether there is an Authenticode signature."""
        return self.directories[_SECURITY : _SECURITY + 1] not in ((), ((0, 0),))

    @property
    def debug(self) -> int:
        """Bytes of debug sections."""
        return sum(section.size for section in self.sections if section.is_debug)


def read_pe(reader: RangeReader) -> Pe:
    """Return the file's headers; raises BinaryError where they cannot be believed."""
    (start,) = struct.unpack("<I", reader.read(60, 4, "header"))
    if reader.read(0, 2, "header") != b"MZ" or reader.read(start, 4, "header") != b"PE\0\0":
        raise BinaryError(f"{reader.path}: is no PE file")
    machine, count, _, symbols_at, symbol_count, size, flags = _COFF.unpack(reader.read(start + 4, _COFF.size, "header"))
    optional = reader.read(start + 24, size, "optional header")
    if count > _MAX_SECTIONS:
        raise BinaryError(f"{reader.path}: has {count} sections, more than any real file")
    fixed, directories = _read_optional(reader, optional)
    symbols, names = _read_symbols(reader, symbols_at, symbol_count)
    table = reader.read(start + 24 + size, count * _SECTION.size, "section headers")
    sections = tuple(_read_section(reader, fields, names) for fields in _SECTION.iter_unpack(table))
    ends = [start + 24 + size + len(table), symbols_at + symbols, *(part.offset + part.size for part in sections)]
    ends.extend(sum(place) for place in directories[_SECURITY : _SECURITY + 1])
    payload = max(0, reader.size - max(ends))
    return Pe(
        fixed=(machine, flags & ~_STRIPPED_FLAGS, *fixed),
        sections=sections,
        directories=directories,
        symbols=symbols,
        payload=0 if reader.is_zero(reader.size - payload, payload) else payload,
    )


def check_same_pe(original: Path, result: Path) -> None:
    """Compare headers, directories and the content of all sections but debug data; raises UnsoundResultError."""
    try:
        with Reader(original) as old_file, Reader(result) as new_file:
            old, new = read_pe(old_file), read_pe(new_file)
            for difference in _differences(old_file, old, new_file, new):
                raise UnsoundResultError(f"{result}: {difference}")
    except BinaryError as error:
        raise UnsoundResultError(str(error)) from error


def _read_optional(reader: RangeReader, data: bytes) -> tuple[tuple[bytes | int, ...], tuple[tuple[int, int], ...]]:
    """Return what no strip changes of the optional header, and the data directories."""
    wide = {b"\x0b\x01": False, b"\x0b\x02": True}.get(data[:2])
    at = 108 if wide else 92
    if wide is None or len(data) < at + 4:
        raise BinaryError(f"{reader.path}: its optional header is not one of PE32 or PE32+")
    (count,) = struct.unpack_from("<I", data, at)
    if count > 16 or len(data) < at + 4 + 8 * count:
        raise BinaryError(f"{reader.path}: its optional header is too short for {count} data directories")
    directories = tuple(struct.iter_unpack("<II", data[at + 4 : at + 4 + 8 * count]))
    (entry,) = struct.unpack_from("<I", data, 16)
    # ImageBase and alignments; then, past the sizes and the checksum, subsystem, flags, stack and heap sizes.
    return (data[:2], entry, data[24 if wide else 28 : 40], data[68:at]), directories


def _read_symbols(reader: RangeReader, offset: int, count: int) -> tuple[int, bytes]:
    """Return the bytes that symbols and their names take, and the names, which long section names are among."""
    if not offset:
        return 0, b""
    size = count * _SYMBOL_SIZE
    (length,) = struct.unpack("<I", reader.read(offset + size, 4, "symbol names"))
    return size + max(4, length), reader.read(offset + size, max(4, length), "symbol names")


def _read_section(reader: RangeReader, fields: tuple[bytes, int, int, int, int, int, int, int, int, int], names: bytes) -> PeSection:
    raw, virtual_size, address, size, offset, *_, flags = fields
    if size and offset and not reader.holds(offset, size):
        raise BinaryError(f"{reader.path}: a section lies outside the file of {reader.size} bytes")
    name = raw.rstrip(b"\0")
    if name.startswith(b"/") and name[1:].isdigit():
        at = int(name[1:])
        name = names[at : at + 64].split(b"\0")[0]
    return PeSection(name.decode("latin-1"), virtual_size, address, size if offset else 0, offset, flags)


def _differences(old_file: Reader, old: Pe, new_file: Reader, new: Pe) -> Iterator[str]:
    if old.fixed != new.fixed:
        yield "its headers differ (machine, entry point, addresses or flags)"
    if _lasting(old) != _lasting(new):
        yield "its data directories differ (exports, imports, ...)"
    if old.is_signed:
        yield "its signature no longer fits"
    if old.payload:
        yield f"{old.payload} bytes of appended data are not accounted for"
    results = {part.address: part for part in new.sections}
    for part in old.sections:
        if part.is_debug:
            continue
        other = results.get(part.address)
        if other is None or (part.virtual_size, part.flags) != (other.virtual_size, other.flags):
            yield f"its section {part.name!a} is missing or differs in size or flags"
        elif list(_content(old_file, old, part)) != list(_content(new_file, new, other)):
            yield f"the content of its section {part.name!a} differs"


def _lasting(pe: Pe) -> list[tuple[int, int]]:
    return [place for number, place in enumerate(pe.directories) if number != _SECURITY]


def _content(reader: RangeReader, pe: Pe, part: PeSection) -> Iterator[str]:
    """Yield digests of what the section has in memory, without the file offsets in the debug directory."""
    size = min(part.size, part.virtual_size or part.size)
    at = 0
    for start, end in _debug_offsets(reader, pe, part, size):
        yield reader.digest(part.offset + at, start - at, "section")
        at = end
    yield reader.digest(part.offset + at, size - at, "section")


def _debug_offsets(reader: RangeReader, pe: Pe, part: PeSection, size: int) -> Iterator[Range]:
    """Yield where, from the section's start, the debug directory holds offsets in the file, which move."""
    for address, length in pe.directories[_DEBUG : _DEBUG + 1]:
        start = address - part.address
        if length > 64 * _DEBUG_ENTRY.size:
            raise BinaryError(f"{reader.path}: a debug directory of {length} bytes is larger than any real one")
        if address and start >= 0 and start + length <= size:
            for at in range(start, start + length - _DEBUG_ENTRY.size + 1, _DEBUG_ENTRY.size):
                yield at + 24, at + 28
