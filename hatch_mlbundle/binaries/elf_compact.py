"""Take dead ranges out of a shared library, with every virtual address as before, and strip it in the same go.

Dead is what reads as zero after some edits (`edits.EditedReader`), and still does in memory. `elf_check.check_same_program` proves
the result against the edited file and trusts none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from . import elf_format as fmt
from .elf import Elf, dynamic_values
from .elf_holes import MAX_LOADS, SMALLEST_PAGE, choose_holes, has_holes, has_room, own_table, page_size
from .elf_layout import Outline
from .elf_rewrite import rewritten
from .elf_strip import Mode, droppable, why_not
from .ranges import Range
from .reader import RangeReader

_GLIBC = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux", "ld64.so")
"""Beginnings of the names under which glibc's own libraries are needed; musl, bionic and the BSDs have others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionPlan:
    """`saves` is the exact difference between the two files in bytes; `holes` are the loaded ranges that go, as offsets in the old file."""

    saves: int
    holes: tuple[Range, ...]
    outline: Outline

    @property
    def removed(self) -> int:
        """How many loaded bytes go."""
        return sum(end - start for start, end in self.holes)


def is_compacted(elf: Elf) -> bool:
    """Say whether loaded ranges were taken out of a file: other tools that rewrite ELF files may break such a one."""
    return own_table(elf) is not None or has_holes(elf)


def why_not_compact(reader: RangeReader, elf: Elf) -> str | None:
    """Return why no loaded range of a file may go, or None; raises BinaryError."""
    return why_not(elf) or _why_not_its_kind(reader, elf) or _why_not_its_segments(elf)


def plan_compaction(reader: RangeReader, elf: Elf, dead: Sequence[Range], mode: Mode | None = None) -> CompactionPlan | None:
    """Return the library without the whole pages in `dead` (offsets), the largest first where there are too many for a loader.

    `mode` says what sections go with them, as a strip would. None where nothing can be gained, or `why_not_compact` speaks
    against it. Raises BinaryError where a range lies over something that is read when the library is loaded.
    """
    if why_not_compact(reader, elf):
        return None
    holes = choose_holes(elf, dead)
    dropped = droppable(elf, mode) if mode else frozenset()
    if not holes and not dropped:
        return None
    result = rewritten(elf, dropped, holes)
    if result.size >= elf.size:
        return None
    return CompactionPlan(saves=elf.size - result.size, holes=tuple(holes), outline=result)


def _why_not_its_kind(reader: RangeReader, elf: Elf) -> str | None:
    values = dynamic_values(reader, elf)
    is_program = any(part.type == fmt.PT_INTERP for part in elf.segments) or values.get(fmt.DT_FLAGS_1, 0) & fmt.DF_1_PIE
    if elf.header.type != fmt.ET_DYN or is_program:
        return "a program, or a library that is one, too: the kernel loads it, not glibc"
    if not any(name.startswith(_GLIBC) for name in elf.needed):
        return "it is not linked against glibc: other loaders, musl's among them, fill no memory with zeros that cannot be written"
    if fmt.DT_TEXTREL in values or values.get(fmt.DT_FLAGS, 0) & fmt.DF_TEXTREL:
        return "it has text relocations: its loader writes where nothing can be written"
    return None


def _why_not_its_segments(elf: Elf) -> str | None:
    if not elf.loads or len(elf.segments) > 2 * MAX_LOADS:
        return f"it has {len(elf.segments)} program headers, {len(elf.loads)} of them for memory"
    page, largest = page_size(elf), max(load.align for load in elf.loads)
    if page < SMALLEST_PAGE:
        return f"its segments are aligned to {page} bytes, less than a page"
    if any((load.vaddr - load.offset) % page for load in elf.loads):
        return "its segments are not aligned in the file as they are in memory"
    if (elf.loads[0].vaddr - elf.loads[0].offset) % largest:
        return f"its first segment is not aligned to {largest} bytes, as another one is"
    if not has_room(elf):
        return "its addresses leave no room for more program headers"
    for one, other in pairwise(elf.loads):
        if -(-(one.vaddr + one.memsz) // page) > other.vaddr // page:
            return f"its segments overlap, share a page, or are not in order, at address {other.vaddr:#x}"
    return None
