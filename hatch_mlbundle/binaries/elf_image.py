"""Compare what two ELF files are in memory: program headers, and every byte that a loader maps or fills with zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from hatch_mlbundle.model import CHUNK

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Segment
from .elf_holes import SMALLEST_PAGE, end_of_memory, own_table, page_size
from .ranges import Range
from .reader import RangeReader

OVERLAP = 8
"""Segments overlap (a NOTE lies in a LOAD); this many times the file's size is more than they ever have together."""
_MOST = 256
"""Program headers of a file that are looked for in its LOADs; of another file each is compared by itself."""


@dataclass(frozen=True, slots=True)
class _Match:
    """A program header of the original, by its number, and what stands for it: a LOAD may have become several."""

    number: int
    before: Segment
    after: tuple[Segment, ...]


_Masks: TypeAlias = tuple[Range, ...]


def segment_differences(old: Elf, new: Elf) -> Iterator[str]:
    """Yield what differs in the program headers: a LOAD may be split where whole pages are filled with zeros, nothing else."""
    matches = _matched(old, new)
    if matches is None:
        yield f"it has {len(new.segments)} program headers, not {len(old.segments)}, or they are in another order"
        return
    page, table = max(page_size(old), SMALLEST_PAGE), _own_phdr(new)
    yield from _table_differences(old, new, page)
    for match in matches:
        (after, *more), before = match.after, match.before
        if before.type == fmt.PT_LOAD:
            is_same = _is_same_memory(match, page)
        elif before.type == fmt.PT_PHDR and table:
            is_same = replace(after, flags=0, align=0) == table
        else:
            is_same = _in_memory(before) == _in_memory(after)
        if not is_same:
            yield f"program header {match.number} differs in more than its offset"
        for part in (after, *more):
            if part.type == fmt.PT_LOAD and not part.is_aligned and before.is_aligned:
                yield f"segment {match.number} is not aligned: address {part.vaddr:#x}, offset {part.offset:#x}, alignment {part.align:#x}"
    if old.loads and max(load.align for load in new.loads) < max(load.align for load in old.loads):
        yield "the alignment of its memory is a smaller one"


def image_differences(edited: RangeReader, old: Elf, new_file: RangeReader, new: Elf) -> Iterator[str]:
    """Yield where memory differs from what the original has after its edits: not in the file header, not in the program headers."""
    if sum(segment.filesz for segment in old.segments) > OVERLAP * old.size:
        yield "its segments overlap more than any real ones do"
        return
    matches = _matched(old, new) or []
    masks = (_headers(old), _headers(new))
    for match in matches:
        if match.before.type == fmt.PT_PHDR or _is_inside_a_load(match, matches):
            continue
        for piece in match.after:
            yield from _piece_differences(edited, new_file, match, piece, masks)


def _matched(old: Elf, new: Elf) -> list[_Match] | None:
    """Return what stands for each program header, in their order; None where there are too few or too many."""
    matches: list[_Match] = []
    own, new_own = own_table(old), own_table(new)
    results = [segment for segment in new.segments if segment is not new_own]
    at = 0
    for number, before in enumerate(old.segments):
        if before is own:
            continue
        end = at + 1
        if before.type == fmt.PT_LOAD:
            size = sum(part.memsz for part in results[at:end])
            while size < before.memsz and end < len(results) and _continues(results[end], before.vaddr + size):
                size += results[end].memsz
                end += 1
        matches.append(_Match(number, before, tuple(results[at:end])))
        at = end
    return matches if at == len(results) else None


def _table_differences(old: Elf, new: Elf, page: int) -> Iterator[str]:
    """Tell where the program headers are in the way: they keep their address, or have pages of their own behind all that is loaded."""
    own = own_table(new)
    if own is None:
        if _table_address(old) != _table_address(new):
            yield "its program headers are at another address"
        return
    others = [load for load in new.loads if load is not own]
    if own.vaddr != end_of_memory(others, page) or own.align < page or not own.is_aligned:
        yield "its program headers are loaded over something else, or where nothing can be loaded"


def _continues(segment: Segment, address: int) -> bool:
    return segment.type == fmt.PT_LOAD and segment.vaddr == address


def _is_same_memory(match: _Match, page: int) -> bool:
    """Say whether the pieces of a LOAD are its addresses, with its permissions; what is no longer in the file, in whole pages.

    Memory of zeros where the file had bytes is not executable.
    """
    before, pieces = match.before, match.after
    at, end = before.vaddr, before.vaddr + before.filesz
    for piece in pieces:
        zeros = piece.vaddr + piece.filesz
        lacks_bytes = zeros < min(end, piece.vaddr + piece.memsz)
        whole = replace(
            before, offset=piece.offset, vaddr=at, paddr=before.paddr + at - before.vaddr, filesz=piece.filesz, memsz=piece.memsz
        )
        code_without_bytes = replace(whole, flags=before.flags & ~fmt.PF_X) if not piece.filesz else whole
        if replace(piece, align=before.align) not in (whole, code_without_bytes) or piece.memsz < piece.filesz:
            return False
        if piece.align != before.align and piece.align < page:
            return False
        if zeros > end or (at != before.vaddr and at % page):
            return False
        if lacks_bytes and (piece.flags & fmt.PF_X or (zeros % page and piece is not pieces[-1])):
            return False
        at += piece.memsz
    return at == before.vaddr + before.memsz


def _in_memory(segment: Segment) -> Segment:
    """Return the segment without its offset; for TLS with the size that the loader rounds up to, which some linkers write."""
    memsz = segment.memsz
    if segment.type == fmt.PT_TLS and segment.align:
        memsz = -(-memsz // segment.align) * segment.align
    return replace(segment, offset=0, memsz=memsz)


def _own_phdr(elf: Elf) -> Segment | None:
    """Return what a PT_PHDR must be, but for flags and alignment, where the table is a LOAD of its own."""
    own = own_table(elf)
    return replace(own, type=fmt.PT_PHDR, flags=0, align=0) if own else None


def _table_address(elf: Elf) -> int | None:
    """Return the address of the program headers, None where they are in no LOAD."""
    start, end = elf.segment_table
    for load in elf.loads:
        if load.offset <= start and end <= load.end:
            return load.vaddr + start - load.offset
    return None


def _is_inside_a_load(match: _Match, matches: Sequence[_Match]) -> bool:
    """Say whether a segment is a part of a LOAD in both files alike, and so is compared with that one."""
    before, after = match.before, match.after[0]
    if before.type == fmt.PT_LOAD or len(matches) > _MOST:
        return False
    for load in matches:
        if load.before.type == fmt.PT_LOAD and _holds(load.before, before):
            address = load.before.vaddr + before.offset - load.before.offset
            if any(_holds(piece, after) and piece.vaddr + after.offset - piece.offset == address for piece in load.after):
                return True
    return False


def _holds(load: Segment, segment: Segment) -> bool:
    return load.offset <= segment.offset and segment.end <= load.end


def _headers(elf: Elf) -> _Masks:
    return (0, elf.encoding.header.size), elf.segment_table


def _piece_differences(
    edited: RangeReader, new_file: RangeReader, match: _Match, piece: Segment, masks: tuple[_Masks, _Masks]
) -> Iterator[str]:
    """Compare the bytes of a piece; where it has none in the file the original's must be zero."""
    start = match.before.offset + piece.vaddr - match.before.vaddr
    moved = piece.offset - start
    old_masks = masks[0]
    new_masks = (*masks[1], *((low + moved, high + moved) for low, high in old_masks))
    for at in range(start, start + piece.filesz, CHUNK):
        size = min(CHUNK, start + piece.filesz - at)
        one = _masked(edited.read(at, size, "segment"), at, old_masks)
        other = _masked(new_file.read(at + moved, size, "segment"), at + moved, new_masks)
        if one != other:
            place = next(step for step, (before, after) in enumerate(zip(one, other, strict=True)) if before != after)
            yield f"the content of segment {match.number} differs at address {match.before.vaddr + at - match.before.offset + place:#x}"
    zeros, end = start + piece.filesz, min(start + piece.memsz, match.before.end)
    if zeros < end and (place := edited.after_zeros(zeros, end)) < end:
        yield f"the content of segment {match.number} is missing at address {match.before.vaddr + place - match.before.offset:#x}"


def _masked(chunk: bytes, at: int, masks: _Masks) -> bytes:
    """Return the bytes at an offset with zeros where a rewrite must differ."""
    for start, end in masks:
        low, high = max(start, at) - at, min(end, at + len(chunk)) - at
        if low < high:
            chunk = chunk[:low] + bytes(high - low) + chunk[high:]
    return chunk
