"""Prove that a rewritten ELF file loads as the original does, whoever wrote it; nothing is run here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hatch_mlbundle.errors import BinaryError, UnsoundResultError
from hatch_mlbundle.model import CHUNK

from . import elf_format as fmt
from .elf import Elf, dynamic_symbols_digest, read_elf
from .elf_format import Header, Section, Segment
from .elf_strip import unknown_sections
from .ranges import Range
from .reader import Reader

_OVERLAP = 8
"""Segments overlap (a NOTE lies in a LOAD); this many times the file's size is more than they ever have together."""


def check_same_program(original: Path, result: Path) -> None:
    """Compare memory image, dynamic linking and unknown sections; raises UnsoundResultError with the first difference."""
    try:
        with Reader(original) as old_file, Reader(result) as new_file:
            old, new = read_elf(old_file), read_elf(new_file)
            for difference in _differences(old_file, old, new_file, new):
                raise UnsoundResultError(f"{result}: {difference}")
    except BinaryError as error:
        raise UnsoundResultError(str(error)) from error


def _differences(old_file: Reader, old: Elf, new_file: Reader, new: Elf) -> Iterator[str]:
    """Yield what differs, cheapest comparison first."""
    yield from _header_differences(old, new)
    yield from _segment_differences(old, new)
    yield from _dynamic_differences(old, new)
    yield from _section_differences(old, new)
    yield from _image_differences(old_file, old, new_file, new)
    if dynamic_symbols_digest(old_file, old) != dynamic_symbols_digest(new_file, new):
        yield "its dynamic symbols differ"
    yield from _unknown_differences(old_file, old, new_file, new)
    yield from _payload_differences(old_file, old, new_file)


def _header_differences(old: Elf, new: Elf) -> Iterator[str]:
    if _lasting(old.header) != _lasting(new.header):
        yield "its file header differs (type, machine, flags or entry point)"
    if _address_of(old, old.header.phoff) != _address_of(new, new.header.phoff):
        yield "its program headers are at another address"


def _lasting(header: Header) -> Header:
    return replace(header, phoff=0, shoff=0, shentsize=0, shnum=0, shstrndx=0)


def _address_of(elf: Elf, offset: int) -> int | None:
    for segment in elf.loads:
        if segment.offset <= offset < segment.end:
            return segment.vaddr + offset - segment.offset
    return None


def _segment_differences(old: Elf, new: Elf) -> Iterator[str]:
    if len(old.segments) != len(new.segments):
        yield f"it has {len(new.segments)} program headers, not {len(old.segments)}"
    for number, (before, after) in enumerate(zip(old.segments, new.segments, strict=False)):
        if _in_memory(before) != _in_memory(after):
            yield f"program header {number} differs in more than its offset"
        if after.type == fmt.PT_LOAD and not after.is_aligned and before.is_aligned:
            yield f"segment {number} is not aligned: address {after.vaddr:#x}, offset {after.offset:#x}, alignment {after.align:#x}"


def _in_memory(segment: Segment) -> Segment:
    """Return the segment without its offset; for TLS with the size that the loader rounds up to, which some linkers write."""
    memsz = segment.memsz
    if segment.type == fmt.PT_TLS and segment.align:
        memsz = -(-memsz // segment.align) * segment.align
    return replace(segment, offset=0, memsz=memsz)


def _dynamic_differences(old: Elf, new: Elf) -> Iterator[str]:
    for name in ("soname", "needed", "rpath", "runpath", "build_id"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"its {name} is {after!a}, not {before!a}"


def _section_differences(old: Elf, new: Elf) -> Iterator[str]:
    """Compare the headers of loaded sections, which linkers and debuggers go by; links are left to the tool."""
    before, after = _loaded_sections(old), _loaded_sections(new)
    if before != after:
        missing = list((Counter(before) - Counter(after)).keys())
        yield f"its loaded sections differ, {missing[0][0]!a} among them" if missing else "its loaded sections are in another order"


def _loaded_sections(elf: Elf) -> list[tuple[str, int, int, int, int]]:
    return [(part.name, part.type, part.flags, part.address, part.size) for part in elf.sections if part.is_loaded]


def _image_differences(old_file: Reader, old: Elf, new_file: Reader, new: Elf) -> Iterator[str]:
    if sum(segment.filesz for segment in old.segments) > _OVERLAP * old.size:
        yield "its segments overlap more than any real ones do"
        return
    for number, (before, after) in enumerate(zip(old.segments, new.segments, strict=False)):
        if before.filesz and not _follows_a_load(before, after, old, new):
            yield from _content_differences(number, _masked(old_file, old, before), _masked(new_file, new, after), before)


def _follows_a_load(before: Segment, after: Segment, old: Elf, new: Elf) -> bool:
    """Say whether a segment is a part of a LOAD in both files alike, and so is compared with that one."""
    if before.type == fmt.PT_LOAD or len(old.segments) > 256:
        return False
    for outer, moved in zip(old.segments, new.segments, strict=False):
        inside = outer.type == fmt.PT_LOAD and outer.offset <= before.offset and before.end <= outer.end
        if inside and after.offset - moved.offset == before.offset - outer.offset:
            return True
    return False


def _content_differences(number: int, before: Iterator[bytes], after: Iterator[bytes], segment: Segment) -> Iterator[str]:
    address = segment.vaddr
    for old_chunk, new_chunk in zip(before, after, strict=True):
        if old_chunk != new_chunk:
            place = next(at for at, (one, other) in enumerate(zip(old_chunk, new_chunk, strict=True)) if one != other)
            yield f"the content of segment {number} differs at address {address + place:#x}"
        address += len(old_chunk)


def _masked(reader: Reader, elf: Elf, segment: Segment) -> Iterator[bytes]:
    """Yield the segment's bytes, with zeros where a rewrite must differ: in the file header and the program headers."""
    masks: Sequence[Range] = ((0, elf.encoding.header.size), elf.segment_table)
    at = segment.offset
    for chunk in reader.chunks(segment.offset, segment.filesz, "segment"):
        for start, end in masks:
            low, high = max(start, at) - at, min(end, at + len(chunk)) - at
            if low < high:
                chunk = chunk[:low] + bytes(high - low) + chunk[high:]
        yield chunk
        at += CHUNK


def _unknown_differences(old_file: Reader, old: Elf, new_file: Reader, new: Elf) -> Iterator[str]:
    """Look for the sections that no strip knows, such as the `pydata` of a PyInstaller executable."""
    before, after = unknown_sections(old), unknown_sections(new)
    if sum(part.filesz for part in before) > _OVERLAP * old.size:
        yield "its sections overlap more than any real ones do"
        return
    found = Counter(_described(new_file, part) for part in after)
    for part in before:
        key = _described(old_file, part)
        if not found[key]:
            yield f"its section {part.name!a} of {part.filesz} bytes is missing or differs"
        found[key] -= 1


def _described(reader: Reader, part: Section) -> tuple[str, int, str]:
    return part.name, part.type, reader.digest(part.offset, part.filesz, "section")


def _payload_differences(old_file: Reader, old: Elf, new_file: Reader) -> Iterator[str]:
    if not old.payload:
        return
    tail = new_file.size - old.payload
    what = "appended data"
    if tail < 0 or new_file.digest(tail, old.payload, what) != old_file.digest(old.size - old.payload, old.payload, what):
        yield f"{old.payload} bytes of appended data are missing or differ"
