"""Native libraries and programs by their sections, and the GPU code in them by architecture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from hatch_mlbundle.binaries.elf import Elf, read_tables
from hatch_mlbundle.binaries.macho import Slice, read_macho
from hatch_mlbundle.binaries.pe import read_pe
from hatch_mlbundle.binaries.reader import RangeReader, Reader
from hatch_mlbundle.model import Kind

from .fatbin import fatbin_extents
from .inspector import HEADERS, OTHER, PADDING, Extent, Inside, Inspector
from .offload_bundle import offload_extents
from .parts import name_in_file

WIDEST_PADDING = 1 << 16
"""Bytes: a gap between two parts that is wider aligns nothing (the largest pages have 64 KiB), and is `(other)`."""

_FATBINS = frozenset({".nv_fatbin", "__nv_relfatbin", ".nv_fatb", "__nv_rel"})
"""Sections of NVIDIA's fat binaries; in PE files their names are cut to 8 characters."""
_OFFLOAD_BUNDLES = frozenset({".hip_fatbin", ".hip_fat"})


class NativeInspector(Inspector):
    """Reads the headers of native libraries and programs."""

    def inspect(self, path: Path) -> Iterable[Inside]:
        """Yield the sections, and GPU code where there is some; raises BinaryError."""
        with Reader(path) as reader:
            yield from self.inside(reader)

    def inside(self, reader: RangeReader) -> Iterator[Inside]:
        """Yield what `inspect` does of a file that somebody else opened; raises BinaryError."""
        headers, sections = self._read(reader)
        yield _sections(headers, sections)
        yield from _gpu_code(reader, sections)

    @abstractmethod
    def _read(self, reader: RangeReader) -> tuple[Iterable[Extent], Sequence[Extent]]:
        """Return where headers and sections lie; raises BinaryError."""


class ElfInspector(NativeInspector):
    """Reads the section headers of ELF files."""

    name: ClassVar[str] = "elf"
    version: ClassVar[str] = "1"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.ELF})

    def _read(self, reader: RangeReader) -> tuple[Iterable[Extent], Sequence[Extent]]:
        elf = read_tables(reader)
        return _elf_headers(elf), [Extent(each.offset, each.end, each.name) for each in elf.sections if each.filesz]


class PeInspector(NativeInspector):
    """Reads the section headers of Windows libraries and programs."""

    name: ClassVar[str] = "pe"
    version: ClassVar[str] = "1"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.PE})

    def _read(self, reader: RangeReader) -> tuple[Iterable[Extent], Sequence[Extent]]:
        found = read_pe(reader).sections
        sections = [Extent(each.offset, each.offset + each.size, each.name) for each in found if each.size]
        return _pe_headers(sections), sections


class MachoInspector(NativeInspector):
    """Reads the load commands of Mach-O libraries and programs; the sections of all slices of a universal one."""

    name: ClassVar[str] = "macho"
    version: ClassVar[str] = "1"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MACHO})

    def _read(self, reader: RangeReader) -> tuple[Iterable[Extent], Sequence[Extent]]:
        slices = {part.offset: list(_macho_sections(part)) for part in read_macho(reader)}
        headers = [Extent(offset, min(found)[0], HEADERS) for offset, found in slices.items() if found]
        return headers, [extent for found in slices.values() for extent in found]


def _sections(headers: Iterable[Extent], sections: Iterable[Extent]) -> Inside:
    """Return headers and sections with the padding between them; what follows the last of them is `(other)`."""
    extents = [*headers, *(Extent(start, end, name_in_file(name)) for start, end, name in sections)]
    extents.sort()
    at = extents[0].end if extents else 0
    for start, end, _ in extents[1:]:
        if at < start <= at + WIDEST_PADDING:
            extents.append(Extent(at, start, PADDING))
        at = max(at, end)
    return Inside(view="sections", extents=extents, rest=OTHER)


def _elf_headers(elf: Elf) -> Iterator[Extent]:
    yield Extent(0, elf.encoding.header.size, HEADERS)
    for start, end in (elf.segment_table, elf.section_table):
        if start < end:
            yield Extent(start, end, HEADERS)


def _pe_headers(sections: Sequence[Extent]) -> Iterator[Extent]:
    """Yield what is before the first section: MS-DOS stub, COFF and optional header, section table, and their padding."""
    if sections:
        yield Extent(0, min(each.start for each in sections), HEADERS)


def _macho_sections(part: Slice) -> Iterator[Extent]:
    for each in part.sections:
        if each.filesz:
            start = part.offset + each.offset
            yield Extent(start, start + each.filesz, f"{each.segment},{each.name}")


def _gpu_code(reader: RangeReader, sections: Iterable[Extent]) -> Iterator[Inside]:
    extents: list[Extent] = []
    for each in sections:
        if each.name in _FATBINS:
            extents += fatbin_extents(reader, each.start, each.end)
        elif each.name in _OFFLOAD_BUNDLES:
            extents += offload_extents(reader, each.start, each.end)
    if extents:
        yield Inside(view="gpu", extents=extents)
