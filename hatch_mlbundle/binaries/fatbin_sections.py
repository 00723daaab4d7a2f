"""The fat binaries of an ELF file, and the pointers to them that show that each is what its code takes it for.

Code comes to a container by its address: from a wrapper (`__fatBinC_Wrapper_t` in CUDA's own <fatbinary_section.h>: u32 magic, u32
version, u64 address of the container, u64 address of more for some), which a relocation fills in. What lies in these sections and has
no such pointer is read by code that nothing is known of: the CUDA runtime's own kernels, for one, where that is linked in.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from hatch_mlbundle.errors import BinaryError

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section, Segment
from .fatbin import MOST_ENTRIES, SECTIONS, Container, read_containers
from .ranges import Range
from .reader import RangeReader

MOST_RELOCATIONS = 1 << 24
"""Relocations and wrappers that are read of a file; the largest real libraries have under a million."""
WRAPPER = struct.Struct("<IIQQ")
WRAPPER_MAGIC = 0x466243B1

_WRAPPERS = ".nvFatBinSegment"
_RECORD = WRAPPER.size
"""Bytes of a wrapper, and of a relocation (`Elf64_Rela`: place, symbol and type, addend)."""
_AT_ONCE = 1 << 15
_RELATIVE = {21: 22, 62: 8, 183: 1027}
"""By `e_machine`, the type of relocations whose addend is the address that they write: PowerPC64, x86-64, AArch64."""


def elf_containers(reader: RangeReader, elf: Elf) -> list[Container]:
    """Return the containers of all sections of fat binaries in their order, of a compacted file's pieces, too; none where it has none.

    Those that no pointer is known to name are pinned. Raises BinaryError where anything but containers and zero bytes lies in one of
    the sections, and where a pointer leads into the middle of a container.
    """
    sections = [section for section in elf.sections if section.name in SECTIONS and section.filesz]
    for one, other in pairwise(sorted(sections, key=lambda section: section.offset)):
        if one.end > other.offset:
            raise BinaryError(f"{reader.path}: its sections of GPU code overlap at byte {other.offset}")
    found: dict[int, Container] = {}
    room = MOST_ENTRIES
    loads = sorted(elf.loads, key=lambda load: load.offset)
    for section in sections:
        for container in read_containers(reader, section.offset, section.end):
            found[_address(loads, section, container.offset)] = container
            room -= 1 + len(container.entries)
        if room < 0:
            raise BinaryError(f"{reader.path}: its GPU code has more than {MOST_ENTRIES} entries")
    named = _named(reader, elf, found) if found else set()
    return [container if address in named else replace(container, is_pinned=True) for address, container in found.items()]


def _address(loads: Sequence[Segment], section: Section, offset: int) -> int:
    """Return the address of a byte of the file: by the program headers, for a compacted section is in pieces in memory."""
    number = bisect_right(loads, offset, key=lambda load: load.offset) - 1
    load = loads[number] if number >= 0 else None
    return load.vaddr + offset - load.offset if load and offset < load.end else section.address + offset - section.offset


def _named(reader: RangeReader, elf: Elf, containers: dict[int, Container]) -> set[int]:
    """Return the addresses of containers that pointers name; raises BinaryError for one into the middle of a container."""
    starts = sorted(containers)
    last = starts[-1]
    named = set()
    for pointer in _pointers(reader, elf, (starts[0], last + containers[last].end - containers[last].offset)):
        start = starts[bisect_right(starts, pointer) - 1]
        container = containers[start]
        if start < pointer < start + container.end - container.offset:
            raise BinaryError(f"{reader.path}: a pointer leads into the middle of the fat binary at byte {container.offset}")
        if start == pointer:
            named.add(start)
    return named


def _pointers(reader: RangeReader, elf: Elf, span: Range) -> Iterator[int]:
    """Yield the addresses in a span that wrappers have, and those that are written when the file is loaded."""
    if (elf.encoding.bits, elf.encoding.order) != (64, "<") or elf.header.type == fmt.ET_REL:
        return
    room = MOST_RELOCATIONS
    for section in elf.sections:
        is_wrappers = section.name == _WRAPPERS and section.filesz > 0
        is_relocations = section.type == fmt.SHT_RELA and section.flags & fmt.SHF_ALLOC
        if is_wrappers or is_relocations:
            room -= section.filesz // _RECORD
        if room < 0:
            raise BinaryError(f"{reader.path}: it has more than {MOST_RELOCATIONS} relocations and wrappers of fat binaries")
        if is_wrappers:
            yield from _wrapped(reader, section, span)
        if is_relocations:
            yield from _written(reader, section, span, _RELATIVE.get(elf.header.machine))


def _wrapped(reader: RangeReader, section: Section, span: Range) -> Iterator[int]:
    for data in _records(reader, section, "wrappers of fat binaries"):
        for magic, _, container, others in WRAPPER.iter_unpack(data):
            if magic == WRAPPER_MAGIC:
                yield from (pointer for pointer in (container, others) if span[0] <= pointer < span[1])


def _written(reader: RangeReader, section: Section, span: Range, relative: int | None) -> Iterator[int]:
    for data in _records(reader, section, "relocations"):
        words = struct.unpack(f"<{len(data) // 8}Q", data)
        for info, addend in zip(words[1::3], words[2::3], strict=True):
            if span[0] <= addend < span[1] and info == relative:
                yield addend


def _records(reader: RangeReader, section: Section, what: str) -> Iterator[bytes]:
    """Yield the whole records of a section, many at once."""
    end = section.offset + section.filesz // _RECORD * _RECORD
    for offset in range(section.offset, end, _AT_ONCE * _RECORD):
        yield reader.read(offset, min(_AT_ONCE * _RECORD, end - offset), what)
