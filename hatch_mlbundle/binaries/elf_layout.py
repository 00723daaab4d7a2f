"""Write an ELF file anew from parts of another: kept ranges -> new offsets -> rewritten tables.

Nothing here knows what may go; `elf_strip`, `elf_holes` and `elf_debug` decide that.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hatch_mlbundle.errors import StorageError

from . import elf_format as fmt
from .edits import Edit, EditedReader, Literal, Move, clipped
from .elf import Elf
from .elf_format import Header, Section, Segment
from .elf_holes import page_size, with_table
from .ranges import Range
from .reader import Reader, copy_range


@dataclass(frozen=True, slots=True)
class Anchor:
    """A range that a reader finds only where its offset stays the same modulo `align` (a power of two, or 0)."""

    start: int
    end: int
    align: int


@dataclass(frozen=True, slots=True)
class Piece:
    """`size` bytes that move from one offset to another."""

    source: int
    target: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the kept ranges of a file go, in their old order."""

    pieces: tuple[Piece, ...]

    @property
    def end(self) -> int:
        """Where the last piece ends."""
        return self.pieces[-1].target + self.pieces[-1].size

    def moved(self, offset: int) -> int:
        """Return where the byte at an old offset went; what is gone collapses to the end of the piece before it."""
        number = bisect_right(self.pieces, offset, key=lambda piece: piece.source) - 1
        piece = self.pieces[max(number, 0)]
        return piece.target + max(0, min(offset - piece.source, piece.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A file to be written: pieces of the old one under new tables. `size` is the exact one of the result, in bytes."""

    size: int
    layout: Layout
    segment_table: bytes
    section_table: bytes
    header: Header
    header_bytes: bytes


def arrange(kept: Sequence[Range], anchors: Iterable[Anchor]) -> Layout:
    """Return the tightest layout of the kept ranges (sorted, disjoint) in which every anchor keeps its alignment."""
    starts = [start for start, _ in kept]
    aligns = [1] * len(kept)
    for anchor in anchors:
        number = bisect_right(starts, anchor.start) - 1
        aligns[number] = max(aligns[number], anchor.align)
    pieces = []
    at = 0
    for (start, end), align in zip(kept, aligns, strict=True):
        at += (start - at) % align
        pieces.append(Piece(start, at, end - start))
        at += end - start
    return Layout(tuple(pieces))


def anchors_of(segments: Iterable[Segment], sections: Iterable[Section]) -> list[Anchor]:
    """Return what must keep its alignment: whatever has bytes in the file."""
    anchors = [Anchor(segment.offset, segment.end, segment.align) for segment in segments if segment.filesz]
    # A loaded section's alignment is one of addresses, and its segment already sees to it.
    return anchors + [Anchor(part.offset, part.end, part.align) for part in sections if part.filesz and not part.is_loaded]


def outline(
    elf: Elf, layout: Layout, segments: Sequence[Segment], sections: Sequence[Section], names_index: int, *, moves_table: bool = False
) -> Outline:
    """Return the file that keeps `layout` of an old one, under these headers, which still name old offsets.

    Program headers that have no place any more are written behind everything else, as a LOAD of their own.
    """
    encoding, end = elf.encoding, layout.end
    segments = [_moved_segment(segment, layout) for segment in segments]
    header = replace(elf.header, phoff=layout.moved(elf.header.phoff) if segments else elf.header.phoff)
    if moves_table:
        table_at = -(-end // page_size(elf)) * page_size(elf)
        segments = with_table(elf, segments, table_at)
        header = replace(header, phoff=table_at, phnum=len(segments))  # of the few that there are: PN_XNUM is far
        end = table_at + len(segments) * encoding.segment.size
    section_table = b""
    if sections:
        first, *rest = sections
        rest = [section if section.type == fmt.SHT_NULL else replace(section, offset=layout.moved(section.offset)) for section in rest]
        header, first = fmt.number_sections(header, first, len(sections), names_index)
        section_table = b"".join(map(encoding.pack_section, [first, *rest]))
        end = -(-end // 8) * 8
    header = replace(header, shoff=end if sections else 0)
    return Outline(
        size=end + len(section_table),
        layout=layout,
        segment_table=b"".join(map(encoding.pack_segment, segments)),
        section_table=section_table,
        header=header,
        header_bytes=encoding.pack_header(header),
    )


def write_outline(source: Path, target: Path, outline: Outline, edits: Sequence[Edit] = ()) -> None:
    """Write the new file, after these edits of the old one, with the old one's permissions.

    Raises StorageError, and BinaryError where the edits are none of this file; then nothing is left behind.
    """
    try:
        with Reader(source) as old, target.open("xb", buffering=0) as new:
            try:
                _write(old.fd, new.fileno(), outline, EditedReader(old, edits).edits)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            os.chmod(target, os.fstat(old.fd).st_mode & 0o7777)  # noqa: PTH101
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error


def _moved_segment(segment: Segment, layout: Layout) -> Segment:
    offset = layout.moved(segment.offset)
    if not segment.filesz and segment.align > 1:
        # It has no bytes, yet the loader wants its offset congruent, and a page there to zero.
        offset -= (offset - segment.offset) % segment.align
        offset = offset if offset >= 0 else segment.offset % segment.align
    return replace(segment, offset=offset)


def _write(source: int, target: int, outline: Outline, edits: Sequence[Edit]) -> None:
    os.truncate(target, outline.size)
    for piece in outline.layout.pieces:
        moved = piece.target - piece.source
        for part in clipped(edits, piece.source, piece.source + piece.size):
            if isinstance(part, Move):
                copy_range(source, target, part.size, source_offset=part.source, target_offset=part.target + moved)
            elif isinstance(part, Literal):
                _put(target, part.target + moved, part.data)
    _put(target, 0, outline.header_bytes)
    _put(target, outline.header.phoff, outline.segment_table)
    _put(target, outline.header.shoff, outline.section_table)


def _put(target: int, offset: int, data: bytes) -> None:
    os.lseek(target, offset, os.SEEK_SET)
    while data:
        data = data[os.write(target, data) :]
