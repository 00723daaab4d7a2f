"""Write the debug data of an ELF file into a file of its own, where gdb and debuginfod look for it by build-id.

gdb manual, "Debugging Information in Separate Files": `.build-id/ab/cdef0123.debug` below a debug-file-directory.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section, Segment
from .elf_layout import Outline, anchors_of, arrange, outline, write_outline
from .elf_strip import droppable
from .ranges import union

_SHORTEST_ID = 2


def why_no_debug_file(elf: Elf) -> str | None:
    """Return why no separate debug file can be made for this file, or None."""
    if elf.build_id is None or len(elf.build_id) < 2 * _SHORTEST_ID:
        return "it has no build-id, by which a debugger would find its debug data"
    if not droppable(elf):
        return "it has no debug data and no symbol table"
    return None


def debug_file_path(build_id: str) -> PurePosixPath:
    """Return where a debugger looks for the debug file of a build-id (in hex), below its debug-file-directory."""
    return PurePosixPath(".build-id", build_id[:2], f"{build_id[2:]}.debug")


def write_debug_file(source: Path, elf: Elf, folder: Path) -> Path:
    """Write the debug file of `source` below `folder` and return its path; raises StorageError, BinaryError.

    An equal build-id stands for the same program, so a file that is already there stays. Ask `why_no_debug_file` first.
    """
    target = folder / debug_file_path(elf.build_id or "")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_outline(source, target, plan_debug_file(elf))
    return target


def plan_debug_file(elf: Elf) -> Outline:
    """Return the layout of a debug file: every header, but bytes only of what is not loaded, and of notes."""
    sections = [_emptied(section) for section in elf.sections]
    segments = [_without_bytes(segment) for segment in elf.segments]
    held = [(0, elf.encoding.header.size), elf.segment_table]
    held += [(segment.offset, segment.end) for segment in segments]
    held += [(section.offset, section.end) for section in sections[1:]]
    layout = arrange(union(held), anchors_of(segments, sections[1:]))
    return outline(elf, layout, segments, sections, elf.names_index)


def _emptied(section: Section) -> Section:
    # As objcopy --only-keep-debug does: the header stays, for addresses and numbers; notes stay, for the build-id.
    if section.is_loaded and section.type not in (fmt.SHT_NOTE, fmt.SHT_NULL):
        return replace(section, type=fmt.SHT_NOBITS)
    return section


def _without_bytes(segment: Segment) -> Segment:
    return segment if segment.type == fmt.PT_NOTE else replace(segment, filesz=0)
