"""Read the headers of an ELF file: bounded reads, and BinaryError for whatever does not add up.

Layout after the System V ABI (gabi), chapters "Object Files" and "Dynamic Linking"; notes after "Note Section".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from hatch_mlbundle.errors import BinaryError

from . import elf_format as fmt
from .elf_format import Encoding, Header, Section, Segment, Symbol
from .ranges import Range
from .reader import RangeReader

MAX_SEGMENTS = 1 << 16
MAX_SECTIONS = 1 << 17
MAX_NAMES = 16 << 20
"""Characters that all section names may have together."""
_MAX_NAME = 4096
_MAX_SMALL = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """What an ELF file's headers say.

    `size` is the file's, in bytes. `sections[0]` is the empty one, and there are none at all where there is no table.
    `names_index` is the number of the section that holds the section names (0: none). `payload` is the number of bytes after
    everything that the headers know of (0 where these are mere zeros). `build_id` is in hex.
    """

    size: int
    encoding: Encoding
    header: Header
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    names_index: int
    payload: int
    needed: tuple[str, ...] = ()
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    build_id: str | None = None

    @property
    def loads(self) -> list[Segment]:
        """The segments that become memory."""
        return [segment for segment in self.segments if segment.type == fmt.PT_LOAD]

    @property
    def segment_table(self) -> tuple[int, int]:
        """Where the program headers are: start and end in the file."""
        return self.header.phoff, self.header.phoff + len(self.segments) * self.encoding.segment.size

    @property
    def section_table(self) -> tuple[int, int]:
        """Where the section headers are: start and end in the file."""
        return self.header.shoff, self.header.shoff + len(self.sections) * self.encoding.section.size


def read_elf(reader: RangeReader) -> Elf:
    """Return the file's headers; raises BinaryError where they cannot be believed."""
    elf = read_layout(reader)
    dynamic = _read_names(reader, elf, (fmt.DT_SONAME, fmt.DT_RPATH, fmt.DT_RUNPATH))
    return replace(
        elf,
        soname=_only(dynamic, fmt.DT_SONAME),
        rpath=_only(dynamic, fmt.DT_RPATH),
        runpath=_only(dynamic, fmt.DT_RUNPATH),
        build_id=_read_build_id(reader, elf.encoding, elf.segments),
    )


def read_layout(reader: RangeReader) -> Elf:
    """Return what `read_elf` does of header, segments, sections, payload and needed libraries: what decides what may be taken out.

    Raises BinaryError.
    """
    elf = read_tables(reader)
    end = max(end for _, end in known_ranges(elf))
    rest = reader.size - end
    needed = _read_names(reader, elf, (fmt.DT_NEEDED,)).get(fmt.DT_NEEDED, ())
    return replace(elf, payload=0 if reader.is_zero(end, rest) else rest, needed=tuple(needed))


def read_tables(reader: RangeReader) -> Elf:
    """Return what `read_elf` does of header, segments and sections, and nothing else; raises BinaryError."""
    encoding, header = _read_header(reader)
    first = _first_section(reader, encoding, header)
    segments = _read_segments(reader, encoding, header, first)
    sections, names_index = _read_sections(reader, encoding, header, first)
    return Elf(
        size=reader.size,
        encoding=encoding,
        header=header,
        segments=segments,
        sections=sections,
        names_index=names_index,
        payload=0,
    )


def known_ranges(elf: Elf) -> list[Range]:
    """Return the parts of the file that its headers know of; they may overlap."""
    ranges = [(0, elf.encoding.header.size), elf.segment_table, elf.section_table]
    ranges += [(segment.offset, segment.end) for segment in elf.segments]
    ranges += [(section.offset, section.end) for section in elf.sections[1:]]
    return [(start, end) for start, end in ranges if start < end]


def dynamic_symbols(reader: RangeReader, elf: Elf) -> Iterator[Symbol]:
    """Yield the symbols that the dynamic linker sees, by the section headers; raises BinaryError."""
    for section in elf.sections:
        if section.type != fmt.SHT_DYNSYM:
            continue
        record = elf.encoding.symbol
        if section.entsize != record.size or section.link >= len(elf.sections):
            raise BinaryError(f"{reader.path}: the dynamic symbol table is malformed")
        strings = elf.sections[section.link]
        names = reader.read(strings.offset, strings.filesz, "dynamic symbol names")
        count = section.size // record.size
        step = _MAX_SMALL // record.size
        for start in range(0, count, step):
            size = min(step, count - start) * record.size
            for fields in record.iter_unpack(reader.read(section.offset + start * record.size, size, "dynamic symbols")):
                yield elf.encoding.unpack_symbol(fields, _string(names, fields[0]))


def dynamic_values(reader: RangeReader, elf: Elf) -> dict[int, int]:
    """Return the dynamic section as numbers: by tag, the value of its last entry; raises BinaryError."""
    return dict(_dynamic_entries(reader, elf.encoding, elf.segments))


def dynamic_symbols_digest(reader: RangeReader, elf: Elf) -> str | None:
    """Return a digest of the dynamic symbols and their names, None where there are none; raises BinaryError."""
    for section in elf.sections:
        if section.type == fmt.SHT_DYNSYM and section.link < len(elf.sections):
            names = elf.sections[section.link]
            return ":".join(reader.digest(part.offset, part.filesz, "dynamic symbols") for part in (section, names))
    return None


def _read_header(reader: RangeReader) -> tuple[Encoding, Header]:
    ident = reader.read(0, min(16, reader.size), "header")
    encoding = Encoding.of(ident)
    if not ident.startswith(fmt.MAGIC) or encoding is None:
        raise BinaryError(f"{reader.path}: is no ELF file")
    header = Header(*encoding.header.unpack(reader.read(0, encoding.header.size, "header")))
    if header.phnum and header.phentsize != encoding.segment.size:
        raise BinaryError(f"{reader.path}: program headers of {header.phentsize} bytes are not {encoding.segment.size} bytes")
    if header.shoff and header.shentsize != encoding.section.size:
        raise BinaryError(f"{reader.path}: section headers of {header.shentsize} bytes are not {encoding.section.size} bytes")
    return encoding, header


def _first_section(reader: RangeReader, encoding: Encoding, header: Header) -> Section | None:
    """Return section 0, which holds the counts that are too large for the file header."""
    if not header.shoff:
        return None
    return Section(*encoding.section.unpack(reader.read(header.shoff, encoding.section.size, "section headers")))


def _read_segments(reader: RangeReader, encoding: Encoding, header: Header, first: Section | None) -> tuple[Segment, ...]:
    count = first.info if first is not None and header.phnum == fmt.PN_XNUM else header.phnum
    if count > MAX_SEGMENTS:
        raise BinaryError(f"{reader.path}: has {count} program headers, more than any real file")
    table = reader.read(header.phoff, count * encoding.segment.size, "program headers")
    segments = tuple(encoding.unpack_segment(fields) for fields in encoding.segment.iter_unpack(table))
    for number, segment in enumerate(segments):
        if segment.filesz and not reader.holds(segment.offset, segment.filesz):
            raise BinaryError(f"{reader.path}: segment {number} lies outside the file of {reader.size} bytes")
        if segment.align & (segment.align - 1) and segment.align:
            raise BinaryError(f"{reader.path}: segment {number} has the alignment {segment.align}, no power of two")
    return segments


def _read_sections(reader: RangeReader, encoding: Encoding, header: Header, first: Section | None) -> tuple[tuple[Section, ...], int]:
    if first is None:
        return (), 0
    count = header.shnum or first.size
    names_index = first.link if header.shstrndx == fmt.SHN_XINDEX else header.shstrndx
    if count > MAX_SECTIONS:
        raise BinaryError(f"{reader.path}: has {count} section headers, more than any real file")
    if count == 0:
        return (), 0
    if names_index >= count:
        raise BinaryError(f"{reader.path}: the section of section names, {names_index}, is none of its {count} sections")
    table = reader.read(header.shoff, count * encoding.section.size, "section headers")
    sections = _named(reader, list(encoding.section.iter_unpack(table)), names_index)
    for number, section in enumerate(sections):
        _check_section(reader, number, section)
    return sections, names_index


def _check_section(reader: RangeReader, number: int, section: Section) -> None:
    if number and section.filesz and not reader.holds(section.offset, section.filesz):
        raise BinaryError(f"{reader.path}: section {number} lies outside the file of {reader.size} bytes")
    if section.align & (section.align - 1) and section.align:
        raise BinaryError(f"{reader.path}: section {number} has the alignment {section.align}, no power of two")


def _named(reader: RangeReader, rows: list[tuple[Any, ...]], names_index: int) -> tuple[Section, ...]:
    holder = Section(*rows[names_index])
    names = reader.read(holder.offset, holder.filesz, "section names") if names_index else b""
    named: list[Section] = []
    room = MAX_NAMES
    for number, fields in enumerate(rows):
        name = _string(names, fields[0]) if names and number else ""
        room -= len(name)
        if room < 0:
            raise BinaryError(f"{reader.path}: its section names are longer than any real ones")
        named.append(Section(*(*fields, name)))
    return tuple(named)


def _string(table: bytes, offset: int) -> str:
    """Return the NUL-terminated string at `offset`: empty outside the table, cut where it is absurdly long."""
    end = table.find(b"\0", offset, offset + _MAX_NAME)
    return table[offset : end if end >= 0 else offset + _MAX_NAME].decode("utf-8", "surrogateescape")


def name_ranges(
    reader: RangeReader, encoding: Encoding, segments: tuple[Segment, ...], tags: Collection[int]
) -> Iterator[tuple[int, Range]]:
    """Yield the tag of each name in the dynamic section, of these tags, and the bytes that it is read from; raises BinaryError."""
    entries = list(_dynamic_entries(reader, encoding, segments))
    values = dict(entries)
    wanted = [(tag, value) for tag, value in entries if tag in tags]
    table, size = _file_offset(segments, values.get(fmt.DT_STRTAB, 0)), values.get(fmt.DT_STRSZ, 0)
    for tag, value in wanted:
        if table is None:
            raise BinaryError(f"{reader.path}: the dynamic section's names are in no segment")
        if value >= size:
            raise BinaryError(f"{reader.path}: the dynamic section names a string outside its table")
        yield tag, (table + value, table + min(value + _MAX_NAME, size))


def _read_names(reader: RangeReader, elf: Elf, tags: Collection[int]) -> dict[int, list[str]]:
    """Return the strings of the dynamic section, by tag."""
    found: dict[int, list[str]] = {}
    room = _MAX_SMALL
    for tag, (start, end) in name_ranges(reader, elf.encoding, elf.segments, tags):
        name = _string(reader.read(start, end - start, "dynamic section's names"), 0)
        room -= len(name)
        if room < 0:
            raise BinaryError(f"{reader.path}: the names in its dynamic section are longer than any real ones")
        found.setdefault(tag, []).append(name)
    return found


def _dynamic_entries(reader: RangeReader, encoding: Encoding, segments: tuple[Segment, ...]) -> Iterator[tuple[int, int]]:
    record = encoding.dynamic
    segment = next((segment for segment in segments if segment.type == fmt.PT_DYNAMIC and segment.filesz), None)
    if segment is None:
        return
    if segment.filesz > _MAX_SMALL:
        raise BinaryError(f"{reader.path}: a dynamic section of {segment.filesz} bytes is larger than any real one")
    table = reader.read(segment.offset, segment.filesz // record.size * record.size, "dynamic section")
    for tag, value in record.iter_unpack(table):
        if tag == fmt.DT_NULL:
            return
        yield tag, value


def _file_offset(segments: tuple[Segment, ...], address: int) -> int | None:
    for segment in segments:
        if segment.type == fmt.PT_LOAD and segment.vaddr <= address < segment.vaddr + segment.filesz:
            return segment.offset + address - segment.vaddr
    return None


def _read_build_id(reader: RangeReader, encoding: Encoding, segments: tuple[Segment, ...]) -> str | None:
    notes = [segment for segment in segments if segment.type == fmt.PT_NOTE and 0 < segment.filesz <= _MAX_SMALL]
    for segment in notes[:64]:
        data = reader.read(segment.offset, segment.filesz, "notes")
        for kind, name, value in _notes(data, encoding, 8 if segment.align == 8 else 4):
            if kind == fmt.NT_GNU_BUILD_ID and name == b"GNU\0" and value:
                return value.hex()
    return None


def _notes(data: bytes, encoding: Encoding, align: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield type, name and value of each note, until one does not fit."""
    at = 0
    while at + 12 <= len(data):
        name_size, value_size, kind = (encoding.word.unpack_from(data, at + step)[0] for step in (0, 4, 8))
        value_at = at + 12 + _round_up(name_size, 4)
        value_at = _round_up(value_at, align)
        if value_at + value_size > len(data):
            return
        yield kind, data[at + 12 : at + 12 + name_size], data[value_at : value_at + value_size]
        at = _round_up(value_at + value_size, align)


def _round_up(number: int, align: int) -> int:
    return -(-number // align) * align


def _only(strings: dict[int, list[str]], tag: int) -> str | None:
    return strings[tag][0] if tag in strings else None
