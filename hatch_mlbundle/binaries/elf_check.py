"""Prove that a rewritten ELF file loads as the original does, whoever wrote it; nothing is run here."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hatch_mlbundle.errors import BinaryError, UnsoundResultError

from . import elf_format as fmt
from .edits import Edit, EditedReader
from .elf import Elf, dynamic_symbols_digest, read_elf
from .elf_format import Header, Section
from .elf_image import OVERLAP, image_differences, segment_differences
from .elf_strip import unknown_sections
from .reader import Reader


def check_same_program(original: Path, result: Path, edits: Sequence[Edit] = ()) -> None:
    """Compare memory image, dynamic linking and unknown sections; raises UnsoundResultError with the first difference.

    The image must be the one that the original has after `edits`. Ranges that read as zero then may be missing from the
    result's file: memory that the loader fills with zeros.
    """
    try:
        with Reader(original) as old_file, Reader(result) as new_file:
            edited = EditedReader(old_file, edits)
            old, new = read_elf(old_file), read_elf(new_file)
            for difference in _differences(old_file, edited, old, new_file, new):
                raise UnsoundResultError(f"{result}: {difference}")
    except BinaryError as error:
        raise UnsoundResultError(str(error)) from error


def _differences(old_file: Reader, edited: EditedReader, old: Elf, new_file: Reader, new: Elf) -> Iterator[str]:
    """Yield what differs, cheapest comparison first."""
    if _lasting(old.header) != _lasting(new.header):
        yield "its file header differs (type, machine, flags or entry point)"
    yield from segment_differences(old, new)
    yield from _dynamic_differences(old, new)
    yield from _section_differences(old, new)
    yield from _place_differences(old, new)
    yield from image_differences(edited, old, new_file, new)
    if dynamic_symbols_digest(old_file, old) != dynamic_symbols_digest(new_file, new):
        yield "its dynamic symbols differ"
    yield from _unknown_differences(old_file, old, new_file, new)
    yield from _payload_differences(old_file, old, new_file)


def _lasting(header: Header) -> Header:
    return replace(header, phoff=0, phnum=0, shoff=0, shentsize=0, shnum=0, shstrndx=0)


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
    """Return name, type, flags, address and size of each loaded section; the pieces of one that has holes count as that one.

    The first piece has the number of the whole; those that a later compaction made follow those of an earlier one.
    """
    loaded = [(part.address, number, part) for number, part in enumerate(elf.sections) if part.is_loaded]
    whole: dict[int, Section] = {}
    ends: dict[tuple[str, int, int], int] = {}
    for _, number, part in sorted(loaded, key=lambda each: each[:2]):
        number = ends.pop((part.name, part.flags, part.address), number)
        if before := whole.get(number):
            kind = part.type if before.type == fmt.SHT_NOBITS else before.type
            part = replace(before, type=kind, size=before.size + part.size)
        whole[number] = part
        ends[part.name, part.flags, part.address + part.size] = number
    return [(part.name, part.type, part.flags, part.address, part.size) for _, part in sorted(whole.items())]


def _place_differences(old: Elf, new: Elf) -> Iterator[str]:
    """Look for loaded sections that are elsewhere in the file than the LOAD of their address says: debuggers would read other bytes."""
    before = _misplaced(old)
    for name, address in _misplaced(new):
        if (name, address) not in before:
            yield f"its section {name!a} at address {address:#x} is elsewhere in the file than the segment says"


def _misplaced(elf: Elf) -> dict[tuple[str, int], None]:
    """Return the name and address of such sections, in their order."""
    loads = sorted(elf.loads, key=lambda load: load.vaddr)
    found: dict[tuple[str, int], None] = {}
    for part in elf.sections if loads else ():
        if part.is_loaded and part.filesz:
            load = loads[bisect_right(loads, part.address, key=lambda load: load.vaddr) - 1]
            if part.address - load.vaddr != part.offset - load.offset:
                found[part.name, part.address] = None
    return found


def _unknown_differences(old_file: Reader, old: Elf, new_file: Reader, new: Elf) -> Iterator[str]:
    """Look for the sections that no strip knows, such as the `pydata` of a PyInstaller executable."""
    before, after = unknown_sections(old), unknown_sections(new)
    if sum(part.filesz for part in before) > OVERLAP * old.size:
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
