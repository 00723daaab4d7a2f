"""Which loaded ranges of an ELF library can go, and what its program and section headers are without them.

A removed range is memory that the loader fills with zeros: the part of a PT_LOAD beyond its `p_filesz` (System V ABI, "Program
Header"). Everything keeps its address; what is behind the range in the file moves up by whole pages. Offsets here are old ones.

glibc, from before 2.17 to today (elf/dl-load.c, later elf/dl-map-segments.h), reads the program headers wherever `e_phoff` says,
finds them in memory through the LOAD that holds all of them, and maps a hole that begins and ends on a page as anonymous memory with
the segment's permissions. It never has to clear a part of a page, for which it would make that writable. In a segment of code a
hole is a header of its own that is read-only: SELinux forbids anonymous memory that is executable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from hatch_mlbundle.errors import BinaryError

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section, Segment
from .fatbin import SECTIONS
from .ranges import Range, difference, union, within

MAX_LOADS = 512
"""LOADs that a file may have. glibc keeps the program headers on the stack of the thread that loads it, 112 bytes for each: with this
many it needs 64 KiB (measured, 2.36), half of the smallest usual stacks. A hole adds one, in a segment of code two.
"""
SMALLEST = 16 << 10
"""Bytes of the smallest range worth a hole: each costs headers, and two mappings in every process."""

SMALLEST_PAGE = 4 << 10
"""Bytes of the smallest page of any machine."""

_SMALL_PAGES = frozenset({3, 62})
_LARGE_PAGE = 64 << 10


def page_size(elf: Elf) -> int:
    """Return the largest page, in bytes, of machines that can load the file: 4 KiB on x86, elsewhere up to 64 KiB, as it is aligned.

    Linux runs AArch64 and PowerPC with pages of 4, 16 or 64 KiB, and glibc refuses a segment whose `p_align` is no multiple of them.
    """
    largest = SMALLEST_PAGE if elf.header.machine in _SMALL_PAGES else _LARGE_PAGE
    return min([largest, *(load.align for load in elf.loads)])


def has_holes(elf: Elf) -> bool:
    """Say whether a file has memory that is filled with zeros and cannot be written: no linker makes any."""
    return any(load.memsz > load.filesz and not load.flags & fmt.PF_W for load in elf.loads)


def own_table(elf: Elf) -> Segment | None:
    """Return the LOAD that holds the program headers of a compacted file, and nothing else; None where there is none."""
    start, end = elf.segment_table
    expected = (start, end - start, end - start, fmt.PF_R)
    return next((load for load in elf.loads[1:] if (load.offset, load.filesz, load.memsz, load.flags) == expected), None)


def has_room(elf: Elf) -> bool:
    """Say whether the addresses behind all that is loaded can take the program headers."""
    return end_of_memory(elf.segments, page_size(elf)) + MAX_LOADS * _LARGE_PAGE < 1 << elf.encoding.bits


def choose_holes(elf: Elf, dead: Sequence[Range]) -> list[Range]:
    """Return whole pages inside `dead` that may go, in their order: those that gain most where a loader cannot bear them all.

    Raises BinaryError where a dead range lies over something that is read.
    """
    page, loads = page_size(elf), elf.loads
    least = max(SMALLEST, page)
    dead = union(dead)
    _refuse_special(elf, dead)
    free = difference([(start, end) for start, end in dead if end - start >= least], _taken(elf))
    found: list[tuple[float, Range, int]] = []
    for load in loads:
        for start, end in within(free, load.offset, load.end):
            start, end = -(-start // page) * page, end // page * page
            if end - start >= least:
                cost = 2 if load.flags & fmt.PF_X else 1
                found.append(((start - end) / cost, (start, end), cost))
    found.sort()
    costs = accumulate(cost for _, _, cost in found)
    return sorted(hole for (_, hole, _), cost in zip(found, costs, strict=True) if len(loads) + 1 + cost <= MAX_LOADS)


def split_segments(elf: Elf, holes: Sequence[Range]) -> list[Segment]:
    """Return the program headers without these holes, and without a LOAD for the program headers themselves.

    What comes after a hole is aligned to pages only; the first LOAD then stands for the largest alignment that any of them had.
    """
    page, largest = page_size(elf), max(load.align for load in elf.loads)
    segments: list[Segment] = []
    own, lowest = own_table(elf), elf.loads[0]
    for segment in elf.segments:
        if segment is own:
            continue
        if segment.type != fmt.PT_LOAD:
            segments.append(segment)
            continue
        pieces = list(_pieces(replace(segment, align=page), within(holes, segment.offset, segment.end)))
        segments += [replace(pieces[0], align=largest), *pieces[1:]] if segment is lowest else pieces
    return segments


def with_table(elf: Elf, segments: Sequence[Segment], offset: int) -> list[Segment]:
    """Return the program headers with one more LOAD, behind all others: the table itself, which goes to a page at this offset."""
    page = page_size(elf)
    size = (len(segments) + 1) * elf.encoding.segment.size
    address = end_of_memory(segments, page)
    table = Segment(fmt.PT_LOAD, fmt.PF_R, offset, address, address, size, size, page)
    own = replace(table, type=fmt.PT_PHDR, align=elf.encoding.bits // 8)
    return [*(own if segment.type == fmt.PT_PHDR else segment for segment in segments), table]


def split_sections(elf: Elf, sections: Sequence[Section], holes: Sequence[Range]) -> list[Section]:
    """Return the section headers without these holes: a section becomes pieces of its name, those in a hole without bytes.

    The first piece keeps the section's number, which symbols go by; the others come last.
    """
    page = page_size(elf)
    first: list[Section] = []
    more: list[Section] = []
    for section in sections:
        inside = within(holes, section.offset, section.end)
        pieces = _packed(section, inside) if section.name in SECTIONS else _section_pieces(section, inside)
        first.append(pieces[0])
        more += [replace(piece, align=min(piece.align, page)) for piece in pieces[1:]]
    return first + more


def _taken(elf: Elf) -> list[Range]:
    """Return what no hole may touch: the file's own headers, sections that some tool reads as a table, and what two LOADs share."""
    tables = (section for section in elf.sections[1:] if not (section.is_loaded and section.type == fmt.SHT_PROGBITS))
    taken = [(0, elf.encoding.header.size), elf.segment_table, elf.section_table, *((part.offset, part.end) for part in tables)]
    last = 0
    for load in sorted(elf.loads, key=lambda load: load.offset):
        taken.append((load.offset, min(load.end, last)))
        last = max(last, load.end)
    return taken


def _refuse_special(elf: Elf, dead: Sequence[Range]) -> None:
    for segment in elf.segments:
        if segment.type != fmt.PT_LOAD and within(dead, segment.offset, segment.end):
            what = fmt.SEGMENT_NAMES.get(segment.type, f"{segment.type:#x}")
            raise BinaryError(f"what is taken for dead lies over its {what} segment at byte {segment.offset}, which is read")


def _pieces(load: Segment, holes: Sequence[Range]) -> Iterator[Segment]:
    if not holes:
        yield load
        return
    at = load.offset
    for start, end in holes:
        if load.flags & fmt.PF_X:
            if at < start:
                yield _piece(load, at, start, start)
            yield replace(_piece(load, start, start, end), flags=load.flags & ~fmt.PF_X)
        else:
            yield _piece(load, at, start, end)
        at = end
    if at < load.offset + load.memsz:
        yield _piece(load, at, load.end, load.offset + load.memsz)


def _piece(load: Segment, start: int, end: int, memory_end: int) -> Segment:
    moved = start - load.offset
    return replace(load, offset=start, vaddr=load.vaddr + moved, paddr=load.paddr + moved, filesz=end - start, memsz=memory_end - start)


def _section_pieces(section: Section, holes: Sequence[Range]) -> list[Section]:
    if not holes:
        return [section]
    pieces: list[Section] = []
    at = section.offset
    for start, end in [*holes, (section.end, section.end)]:
        for low, high, kind in ((at, start, section.type), (start, end, fmt.SHT_NOBITS)):
            if low < high:
                address = section.address + low - section.offset
                pieces.append(replace(section, type=kind, address=address, offset=low, size=high - low))
        at = end
    return pieces


def _packed(section: Section, holes: Sequence[Range]) -> list[Section]:
    # cuobjdump takes the first section of the name, and reads it in the file from end to end. Its addresses are right only up to the
    # first hole, then: gdb warns of a section outside of segments, and goes on.
    removed = sum(end - start for start, end in holes)
    kept = section.size - removed
    rest = replace(section, type=fmt.SHT_NOBITS, address=section.address + kept, offset=section.end, size=removed, align=1)
    return [replace(section, size=kept), rest] if removed else [section]


def end_of_memory(segments: Sequence[Segment], page: int) -> int:
    """Return the first page, by its address, behind all that is loaded."""
    return -(-max(part.vaddr + part.memsz for part in segments if part.type == fmt.PT_LOAD) // page) * page
