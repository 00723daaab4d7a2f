"""Read the headers of a Mach-O library or executable, and prove that a stripped one is the same program.

Layout after Apple's <mach-o/loader.h> and <mach-o/fat.h>.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import BinaryError, UnsoundResultError

from .macho_signature import Signature, read_signature, signature_fits
from .reader import RangeReader, Reader

_THIN = {
    b"\xfe\xed\xfa\xce": (">", 32),
    b"\xce\xfa\xed\xfe": ("<", 32),
    b"\xfe\xed\xfa\xcf": (">", 64),
    b"\xcf\xfa\xed\xfe": ("<", 64),
}
_UNIVERSAL = {b"\xca\xfe\xba\xbe": struct.Struct(">iiIII"), b"\xca\xfe\xba\xbf": struct.Struct(">iiQQII")}
_MAX_SLICES = 64
_MAX_COMMANDS = 1 << 20
MH_OBJECT = 1
_LC_SEGMENT, _LC_SYMTAB, _LC_DYSYMTAB, _LC_SEGMENT_64, _LC_CODE_SIGNATURE = 0x1, 0x2, 0xB, 0x19, 0x1D
_LC_DYLD_INFO = (0x22, 0x80000022)
_LC_LINKING = frozenset({0xC, 0xD, 0x1B, 0x20, 0x80000018, 0x8000001C, 0x8000001F, 0x80000023, 0x80000028})
"""Loaded libraries, the library's own name, UUID, search paths, entry point: compared byte for byte."""
_LC_TABLES = frozenset({0x80000033, 0x80000034})
"""LC_DYLD_EXPORTS_TRIE, LC_DYLD_CHAINED_FIXUPS: offset and size of what the dynamic linker reads."""
_ZERO_FILL = frozenset({0x1, 0xC, 0x12})


@dataclass(frozen=True, slots=True)
class MachoSection:
    """A section: place in memory, and in the file from the slice's start, in bytes."""

    segment: str
    name: str
    address: int
    size: int
    offset: int
    flags: int

    @property
    def filesz(self) -> int:
        """Bytes in the file: none where memory is merely zeroed."""
        return 0 if self.flags & 0xFF in _ZERO_FILL else self.size

    @property
    def is_debug(self) -> bool:
        """Whether it holds debug data."""
        return self.segment == "__DWARF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The program for one kind of processor: `offset` and `size` are its place in the file, in bytes.

    `linking` are the load commands that no strip changes, `tables` offset and size of what the dynamic linker reads.
    `segments` are name, address, size in memory and protection. `local_symbols` is their number, `symbols` the bytes of all.
    """

    offset: int
    size: int
    cpu: tuple[int, int]
    type: int
    flags: int
    segments: tuple[tuple[str, int, int, int, int], ...]
    sections: tuple[MachoSection, ...]
    linking: tuple[bytes, ...]
    tables: tuple[tuple[int, int], ...]
    symbols: int
    local_symbols: int
    signature: Signature
    signature_place: tuple[int, int]

    @property
    def debug(self) -> int:
        """Bytes of debug sections."""
        return sum(section.filesz for section in self.sections if section.is_debug)


def read_macho(reader: RangeReader) -> tuple[Slice, ...]:
    """Return what the headers say, a slice for each kind of processor; raises BinaryError where they cannot be believed."""
    magic = reader.read(0, 4, "header")
    if magic in _THIN:
        return (_read_slice(reader, 0, reader.size),)
    record = _UNIVERSAL.get(magic)
    if record is None:
        raise BinaryError(f"{reader.path}: is no Mach-O file")
    (count,) = struct.unpack(">I", reader.read(4, 4, "header"))
    if not 0 < count <= _MAX_SLICES:
        raise BinaryError(f"{reader.path}: has {count} slices, which no real file has")
    table = list(record.iter_unpack(reader.read(8, count * record.size, "slice headers")))
    if sum(fields[3] for fields in table) > reader.size:
        raise BinaryError(f"{reader.path}: its slices overlap or lie outside the file of {reader.size} bytes")
    return tuple(_read_slice(reader, fields[2], fields[3]) for fields in table)


def check_same_macho(original: Path, result: Path) -> None:
    """Compare headers, load commands and the content of all sections but debug data; raises UnsoundResultError."""
    try:
        with Reader(original) as old_file, Reader(result) as new_file:
            old, new = read_macho(old_file), read_macho(new_file)
            if [part.cpu for part in old] != [part.cpu for part in new]:
                raise UnsoundResultError(f"{result}: it is for other processors")
            for before, after in zip(old, new, strict=True):
                for difference in _differences(old_file, before, new_file, after):
                    raise UnsoundResultError(f"{result}: {difference}")
    except BinaryError as error:
        raise UnsoundResultError(str(error)) from error


def _read_slice(reader: RangeReader, offset: int, size: int) -> Slice:
    if not reader.holds(offset, size):
        raise BinaryError(f"{reader.path}: a slice lies outside the file of {reader.size} bytes")
    encoding = _THIN.get(reader.read(offset, 4, "slice header"))
    if encoding is None:
        raise BinaryError(f"{reader.path}: a slice is no Mach-O file")
    order, bits = encoding
    head = 32 if bits == 64 else 28
    cpu, subtype, kind, count, length, flags = struct.unpack(f"{order}iiIIII", reader.read(offset + 4, 24, "slice header"))
    if length > _MAX_COMMANDS or head + length > size:
        raise BinaryError(f"{reader.path}: load commands of {length} bytes do not fit in their slice")
    data = reader.read(offset + head, length, "load commands")
    found = _Commands(reader, order, offset, size)
    for command, body in _commands(reader, order, count, data):
        found.take(command, body)
    return Slice(
        offset=offset,
        size=size,
        cpu=(cpu, subtype),
        type=kind,
        flags=flags,
        segments=tuple(found.segments),
        sections=tuple(found.sections),
        linking=tuple(found.linking),
        tables=tuple(found.tables),
        symbols=found.symbols * (16 if bits == 64 else 12) + found.strings,
        local_symbols=found.local_symbols,
        signature=found.signature,
        signature_place=found.signature_place,
    )


def _commands(reader: RangeReader, order: str, count: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    for _ in range(count):
        if at + 8 > len(data):
            raise BinaryError(f"{reader.path}: has fewer load commands than it says")
        command, size = struct.unpack_from(f"{order}II", data, at)
        if size < 8 or at + size > len(data):
            raise BinaryError(f"{reader.path}: a load command of {size} bytes does not fit")
        yield command, data[at : at + size]
        at += size


class _Commands:
    """Gathers what the load commands of one slice say."""

    def __init__(self, reader: RangeReader, order: str, offset: int, size: int) -> None:
        self._reader, self._order, self._offset, self._size = reader, order, offset, size
        self.segments: list[tuple[str, int, int, int, int]] = []
        self.sections: list[MachoSection] = []
        self.linking: list[bytes] = []
        self.tables: list[tuple[int, int]] = []
        self.symbols = self.strings = self.local_symbols = 0
        self.signature = Signature.NONE
        self.signature_place = (0, 0)

    def take(self, command: int, body: bytes) -> None:
        """Read one load command; raises BinaryError."""
        try:
            if command in (_LC_SEGMENT, _LC_SEGMENT_64):
                self._take_segment(body, "QQ" if command == _LC_SEGMENT_64 else "II")
            elif command in _LC_LINKING:
                self.linking.append(body)
            else:
                self._take_link_edit(command, body)
        except struct.error as error:
            raise BinaryError(f"{self._reader.path}: load command {command:#x} is too short") from error

    def _take_segment(self, body: bytes, pair: str) -> None:
        head = struct.Struct(f"{self._order}II16s{pair}{pair}iiII")
        record = struct.Struct(f"{self._order}16s16s{pair}IIIIIII{'I' if pair == 'QQ' else ''}")
        _, _, raw, address, size, _, _, maximum, initial, count, _ = head.unpack_from(body)
        if len(body) < head.size + count * record.size:
            raise BinaryError(f"{self._reader.path}: a segment of {count} sections does not fit in its load command")
        self.segments.append((_text(raw), address, size, maximum, initial))
        for number in range(count):
            name, segment, at, length, offset, _, _, _, flags, *_ = record.unpack_from(body, head.size + number * record.size)
            section = MachoSection(_text(segment), _text(name), at, length, offset, flags)
            self._demand(offset if section.filesz else 0, section.filesz, "a section")
            self.sections.append(section)

    def _take_link_edit(self, command: int, body: bytes) -> None:
        if command == _LC_SYMTAB:
            _, self.symbols, _, self.strings = self._words(body, 4)
        elif command == _LC_DYSYMTAB:
            _, self.local_symbols = self._words(body, 2)
        elif command in _LC_TABLES:
            self._add_table(*self._words(body, 2))
        elif command in _LC_DYLD_INFO:
            words = self._words(body, 10)
            for number in range(0, 10, 2):
                self._add_table(words[number], words[number + 1])
        elif command == _LC_CODE_SIGNATURE:
            self._take_signature(*self._words(body, 2))

    def _words(self, body: bytes, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{self._order}{count}I", body, 8)

    def _add_table(self, offset: int, size: int) -> None:
        self._demand(offset, size, "a table of the dynamic linker")
        self.tables.append((offset, size))

    def _demand(self, offset: int, size: int, what: str) -> None:
        if offset + size > self._size:
            raise BinaryError(f"{self._reader.path}: {what} lies outside its slice of {self._size} bytes")

    def _take_signature(self, offset: int, size: int) -> None:
        self._demand(offset, size, "the signature")
        self.signature_place = (self._offset + offset, size)
        self.signature = read_signature(self._reader, *self.signature_place)


def _differences(old_file: Reader, old: Slice, new_file: Reader, new: Slice) -> Iterator[str]:
    if (old.type, old.flags) != (new.type, new.flags):
        yield "its type or flags differ"
    if old.linking != new.linking:
        yield "its loaded libraries, name, UUID or search paths differ"
    if _lasting(old) != _lasting(new):
        yield "its segments are at other addresses or differ in size or protection"
    if old.signature is not new.signature:
        yield f"its signature is {new.signature.value}, not {old.signature.value}"
    if new.signature is not Signature.NONE and not signature_fits(new_file, new.offset, *new.signature_place):
        yield "its signature does not fit its code"
    if list(_contents(old_file, old)) != list(_contents(new_file, new)):
        yield "its sections or their content differ"
    if list(_table_digests(old_file, old)) != list(_table_digests(new_file, new)):
        yield "its exports or fix-ups differ"


def _lasting(part: Slice) -> list[tuple[str, int, int, int, int]]:
    # The symbols are in __LINKEDIT, which therefore shrinks.
    return [segment for segment in part.segments if segment[0] not in ("__LINKEDIT", "__DWARF")]


def _contents(reader: RangeReader, part: Slice) -> Iterator[tuple[str, str, int, int, int, str]]:
    if sum(section.filesz for section in part.sections) > 2 * part.size:
        raise BinaryError(f"{reader.path}: its sections overlap more than any real ones do")
    for section in part.sections:
        if not section.is_debug:
            digest = reader.digest(part.offset + section.offset, section.filesz, "section") if section.filesz else ""
            yield section.segment, section.name, section.address, section.size, section.flags, digest


def _table_digests(reader: RangeReader, part: Slice) -> Iterator[str]:
    for offset, size in part.tables:
        yield reader.digest(part.offset + offset, size, "table of the dynamic linker")


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("latin-1")
