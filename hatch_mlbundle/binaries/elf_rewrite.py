"""Lay out an ELF file anew without some of its sections and loaded ranges: the one plan of strip and compaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section
from .elf_holes import own_table, split_sections, split_segments
from .elf_layout import Outline, anchors_of, arrange, outline
from .ranges import Range, complement, difference


def rewritten(elf: Elf, dropped: frozenset[int], holes: Sequence[Range] = ()) -> Outline:
    """Return the file without the sections of these numbers and these loaded pages; what no header knows of stays."""
    segments = list(elf.segments)
    sections, names_index = _remaining(elf, dropped) if dropped else (list(elf.sections), elf.names_index)
    gone = [(elf.sections[index].offset, elf.sections[index].end) for index in dropped]
    held = [(0, elf.encoding.header.size), elf.segment_table]
    held += [(segment.offset, segment.end) for segment in segments]
    held += [(section.offset, section.end) for section in sections[1:]]
    moves_table = False
    if holes:
        segments, sections = split_segments(elf, holes), split_sections(elf, sections, holes)
        had_own = own_table(elf) is not None
        moves_table = had_own or len(segments) > len(elf.segments)
        holes = [*holes, elf.segment_table] if had_own else holes
    kept = complement([*difference([*gone, elf.section_table], held), *holes], elf.size)
    layout = arrange(kept, anchors_of(segments, sections[1:]))
    return outline(elf, layout, segments, sections, names_index, moves_table=moves_table)


def _remaining(elf: Elf, dropped: frozenset[int]) -> tuple[list[Section], int]:
    """Return the headers that stay, and the number of the one that holds the names.

    Symbols, links and groups name sections by number, some of them in loaded bytes. So no section changes its number: a
    dropped one before the last that stays leaves an empty header. Only the names, which the file header alone knows, move up.
    """
    sections = list(elf.sections)
    for number in dropped:
        sections[number] = _EMPTY
    sections = [_unlinked(section, dropped) for section in sections]
    names = sections[elf.names_index]
    if elf.names_index == 0 or names.is_loaded or any(section.link == elf.names_index for section in sections[1:]):
        return _without_tail(sections), elf.names_index
    sections[elf.names_index] = _EMPTY
    sections = [*_without_tail(sections), names]
    return sections, len(sections) - 1


_EMPTY = Section(0, fmt.SHT_NULL, 0, 0, 0, 0, 0, 0, 0, 0)


def _unlinked(section: Section, gone: frozenset[int]) -> Section:
    return replace(section, link=0) if section.link in gone else section


def _without_tail(sections: list[Section]) -> list[Section]:
    while len(sections) > 1 and sections[-1].type == fmt.SHT_NULL:
        sections.pop()
    return sections
