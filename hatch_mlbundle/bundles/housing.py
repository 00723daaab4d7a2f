"""Put another archive in the place of the one that a frozen executable carries.

On Linux it is a section of the ELF file called `pydata`, on Windows it is appended to the PE file; a macOS executable is signed
over it, and stays as it is (PyInstaller's `building/api.py`, `EXE.assemble`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.pe_checksum import CHECKSUM_SIZE, checksum_offset, pe_checksum
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError
from hatch_mlbundle.model import Content, MemoryContent

from .carchive import CArchive
from .joined import JoinedContent, RangeContent, padding
from .shared_file import SharedFile

_ALIGNMENT = 16
"""No section behind the archive asks for more."""


def why_not(file: SharedFile, archive: CArchive) -> str | None:
    """Return why the archive in an executable cannot be replaced, None where it can."""
    head = file.read_at(0, 4)
    if head.startswith(b"MZ"):
        return None if archive.end == file.size else "it is signed, or something else stands behind its archive"
    if head != fmt.MAGIC:
        return "an executable of macOS is signed over its modules; leave them out before it is built, in the spec file"
    try:
        return _elf_problem(_read(file), archive)
    except BinaryError as error:
        return str(error)


def rehouse(file: SharedFile, archive: CArchive, package: Sequence[Content], size: int) -> JoinedContent:
    """Return the executable with `package`, an archive of `size` bytes, in the place of its own; `why_not` must be None."""
    if file.read_at(0, 2) == b"MZ":
        return _rehouse_pe(file, archive, package, size)
    return _rehouse_elf(file, archive, package, size)


def _read(file: SharedFile) -> Elf:
    with Reader(file.path) as reader:
        return read_elf(reader)


def _elf_problem(elf: Elf, archive: CArchive) -> str | None:
    held = [section for section in elf.sections[1:] if (section.offset, section.end) == (archive.start, archive.end)]
    loaded = any(segment.filesz and segment.end > archive.start for segment in elf.segments)
    tables_fit = elf.header.shoff >= archive.end and elf.segment_table[1] <= archive.start
    across = any(section.offset < archive.end < section.end for section in elf.sections[1:])
    if len(held) != 1 or loaded or not tables_fit or across:
        return "its archive is no section of its own behind what is loaded"
    return None


def _rehouse_elf(file: SharedFile, archive: CArchive, package: Sequence[Content], size: int) -> JoinedContent:
    elf = _read(file)
    moved = size - (archive.end - archive.start)
    fill = -moved % _ALIGNMENT
    moved += fill
    header = replace(elf.header, shoff=elf.header.shoff + moved)
    sections = []
    for section in elf.sections:
        if section.offset >= archive.end and section.type != fmt.SHT_NULL:
            section = replace(section, offset=section.offset + moved)
        elif (section.offset, section.end) == (archive.start, archive.end):
            section = replace(section, size=size)
        sections.append(section)
    head, table = elf.encoding.pack_header(header), b"".join(map(elf.encoding.pack_section, sections))
    begin, end = elf.section_table
    pieces: list[Content] = [
        MemoryContent(head),
        RangeContent(file, len(head), archive.start - len(head)),
        *package,
        padding(fill),
        RangeContent(file, archive.end, begin - archive.end),
        MemoryContent(table),
        RangeContent(file, end, file.size - end),
    ]
    return JoinedContent(pieces, file.size + moved)


def _rehouse_pe(file: SharedFile, archive: CArchive, package: Sequence[Content], size: int) -> JoinedContent:
    """The checksum is what virus scanners look at first."""
    whole = archive.start + size
    at = checksum_offset(file.read_at(0, min(archive.start, 1 << 12)))
    if at is None:
        return JoinedContent([RangeContent(file, 0, archive.start), *package], whole)
    before, behind = RangeContent(file, 0, at), RangeContent(file, at + CHECKSUM_SIZE, archive.start - at - CHECKSUM_SIZE)
    blank = JoinedContent([before, padding(CHECKSUM_SIZE), behind, *package], whole)
    return JoinedContent([before, MemoryContent(pe_checksum(blank.chunks(), whole)), behind, *package], whole)
