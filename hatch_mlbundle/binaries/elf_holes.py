"""Which loaded ranges of an ELF library can go, and what its program and section headers are without them.

A removed range is memory that the loader fills with zeros: the part of a PT_LOAD beyond its `p_filesz` (System V ABI, "Program
Header"). Everything keeps its address; what is behind the range in the file moves up by whole pages. Offsets here are old ones.

glibc, from 2.17 to today (elf/dl-load.c, later elf/dl-map-segments.h), maps a hole that begins and ends on a page as anonymous
memory, with the segment's permissions, and never has to clear a part of a page, for which it would make that writable. In a
segment of code a hole is a header of its own that is read-only: SELinux forbids anonymous memory that is executable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hatch_mlbundle.errors import BinaryError

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section, Segment
from .ranges import Range, difference, intersection, union

MAX_HOLES = 256
"""Holes that a file may have: glibc reads the program headers onto the stack of the thread that loads it, 120 bytes for each."""
SMALLEST = 16 << 10
"""Bytes of the smallest range worth a hole: each costs headers, and two mappings in every process."""

_SMALL_PAGES = frozenset({3, 62})
_PAGE, _LARGE_PAGE = 4 << 10, 64 << 10


@dataclass(frozen=True, slots=True)
class Removal:
    """Loaded ranges that go, in their order, and dead pages before one of them that take the program headers, where these move."""

    holes: tuple[Range, ...] = ()
    table: Range | None = None

    @property
    def dead(self) -> list[Range]:
        """All that no section has any more."""
        return union([*self.holes, *([self.table] if self.table else [])])


def page_size(elf: Elf) -> int:
    """Return the largest page, in bytes, of machines that can load the file: 4 KiB on x86, elsewhere up to 64 KiB, as it is aligned.

    Linux runs AArch64 and PowerPC with pages of 4, 16 or 64 KiB, and glibc refuses a segment whose `p_align` is no multiple of them.
    """
    largest = _PAGE if elf.header.machine in _SMALL_PAGES else _LARGE_PAGE
    return min([largest, *(load.align for load in elf.loads)])


def count_holes(elf: Elf) -> int:
    """Return how many holes a file has already: zero-filled memory that cannot be written, which no linker makes."""
    return sum(load.memsz > load.filesz and not load.flags & fmt.PF_W for load in elf.loads)


def choose_holes(elf: Elf, dead: Sequence[Range]) -> list[Range]:
    """Return the largest whole pages inside `dead` that may go, in their order; raises BinaryError where `dead` cannot be right."""
    page = page_size(elf)
    taken = _taken(elf)
    _refuse_special(elf, dead)
    found: list[Range] = []
    for number, load in enumerate(elf.loads):
        others = [(other.offset, other.end) for other in elf.loads[:number] + elf.loads[number + 1 :]]
        for start, end in difference(intersection(dead, [(load.offset, load.end)]), taken + others):
            start, end = -(-start // page) * page, end // page * page
            if end - start >= max(SMALLEST, page):
                found.append((start, end))
    room = max(MAX_HOLES - count_holes(elf), 0)
    return sorted(sorted(found, key=lambda hole: hole[0] - hole[1])[:room])


def make_room(elf: Elf, holes: Sequence[Range]) -> Removal | None:
    """Return what goes, with a place for the program headers if they become more: the first pages of a hole that cannot be written.

    That hole stays one, of a page or more. None where there is no such hole.
    """
    if len(split_segments(elf, holes)) <= len(elf.segments):
        return Removal(tuple(holes))
    page = page_size(elf)
    size = -(-(len(split_segments(elf, holes)) + 1) * elf.encoding.segment.size // page) * page
    for number, (start, end) in enumerate(holes):
        load = next(load for load in elf.loads if load.offset <= start < load.end)
        if not load.flags & fmt.PF_W and end - start >= size + page:
            return Removal((*holes[:number], (start + size, end), *holes[number + 1 :]), (start, start + size))
    return None


def split_segments(elf: Elf, holes: Sequence[Range]) -> list[Segment]:
    """Return the program headers without these holes.

    What comes after a hole is aligned to pages only; the first LOAD then stands for the largest alignment that any of them had.
    """
    page, largest = page_size(elf), max(load.align for load in elf.loads)
    segments: list[Segment] = []
    for segment in elf.segments:
        if segment.type != fmt.PT_LOAD:
            segments.append(segment)
            continue
        is_first = segment is elf.loads[0]
        pieces = [replace(piece, align=page) for piece in _pieces(segment, intersection(holes, [(segment.offset, segment.end)]))]
        segments += [replace(pieces[0], align=largest), *pieces[1:]] if is_first else pieces
    return segments


def split_sections(elf: Elf, sections: Sequence[Section], dead: Sequence[Range]) -> list[Section]:
    """Return the section headers without these pages: a section becomes pieces of its name, the dead ones without bytes.

    The first piece keeps the section's number, which symbols go by; the others come last.
    """
    page = page_size(elf)
    first: list[Section] = []
    more: list[Section] = []
    for section in sections:
        inside = intersection(dead, [(section.offset, section.end)]) if section.filesz else []
        pieces = list(_section_pieces(section, inside))
        first.append(pieces[0])
        more += [replace(piece, align=min(piece.align, page)) for piece in pieces[1:]]
    return first + more


def _taken(elf: Elf) -> list[Range]:
    """Return what no hole may touch: the file's own headers, and sections of which some tool reads the table at once."""
    plain = (section for section in elf.sections[1:] if not (section.is_loaded and section.type == fmt.SHT_PROGBITS))
    return [(0, elf.encoding.header.size), elf.segment_table, elf.section_table, *((part.offset, part.end) for part in plain)]


def _refuse_special(elf: Elf, dead: Sequence[Range]) -> None:
    for segment in elf.segments:
        if segment.type != fmt.PT_LOAD and intersection(dead, [(segment.offset, segment.end)]):
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


def _section_pieces(section: Section, holes: Sequence[Range]) -> Iterator[Section]:
    if not holes:
        yield section
        return
    at = section.offset
    for start, end in [*holes, (section.end, section.end)]:
        for low, high, kind in ((at, start, section.type), (start, end, fmt.SHT_NOBITS)):
            if low < high:
                address = section.address + low - section.offset
                yield replace(section, type=kind, address=address, offset=low, size=high - low)
        at = end
