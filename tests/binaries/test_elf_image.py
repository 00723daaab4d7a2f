"""Each kind of fault that a writer of compacted libraries can have, made on purpose: the proof has to tell of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_format import Section, Segment
from hatch_mlbundle.binaries.elf_layout import Layout, Piece, write_outline
from hatch_mlbundle.binaries.elf_strip import plan_strip, write_stripped
from hatch_mlbundle.errors import UnsoundResultError
from tests.deadsmith import KIB, Compacted, compact, dead_library, read
from tests.elfsmith import Part, build_elf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes ELF libraries")
SIZES = (64 * KIB, 40 * KIB, 200 * KIB)
LIBRARIES = {".rodata": (), ".text": ("-Wl,-z,noseparate-code",), ".data": ()}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Compacted]:
    folder = tmp_path_factory.mktemp("image")
    made = {name: dead_library(folder / f"lib{name}.so", SIZES, *flags, section=name) for name, flags in LIBRARIES.items()}
    return {name: compact(path) for name, path in made.items()}


def is_found_out(library: Compacted, data: bytes) -> bool:
    wrong = library.path.with_name("wrong.so")
    wrong.write_bytes(data)
    try:
        check_same_program(library.source, wrong, library.edits)
    except UnsoundResultError:
        return True
    return False


def with_segments(library: Compacted, segments: list[Segment]) -> bytes:
    elf, data = read(library.path), bytearray(library.path.read_bytes())
    start, end = elf.segment_table
    table = b"".join(map(elf.encoding.pack_segment, segments))
    data[start:end] = table.ljust(end - start, b"\0")[: end - start]
    data[: elf.encoding.header.size] = elf.encoding.pack_header(replace(elf.header, phnum=len(segments)))
    return bytes(data)


Headers = Callable[[list[Segment], int], list[Segment]]
"""Return the program headers with a fault; the number is that of the first one with a hole."""


def one(step: int, **changes: int) -> Headers:
    """Add to fields of the header that is so many behind the one with the hole."""

    def change(segments: list[Segment], hole: int) -> list[Segment]:
        part = segments[hole + step]
        fields = {name: getattr(part, name) + by for name, by in changes.items()}
        return [*segments[: hole + step], replace(part, **fields), *segments[hole + step + 1 :]]

    return change


def swapped(segments: list[Segment], hole: int) -> list[Segment]:
    """Exchange what two pieces of the same size read."""
    sizes = [part.filesz for part in segments]
    first, second = (number for number in range(hole, len(segments)) if sizes[number] == 4096 and segments[number].type == fmt.PT_LOAD)
    parts = list(segments)
    parts[first] = replace(parts[first], offset=segments[second].offset)
    parts[second] = replace(parts[second], offset=segments[first].offset)
    return parts


def without_zeros(segments: list[Segment], hole: int) -> list[Segment]:
    return [*segments[:hole], replace(segments[hole], memsz=segments[hole].filesz), *segments[hole + 1 :]]


def without_bytes(segments: list[Segment], hole: int) -> list[Segment]:
    return [*segments[: hole + 1], replace(segments[hole + 1], filesz=16), *segments[hole + 2 :]]


FAULTS: dict[str, Headers] = {
    "a piece reads a page too far": one(1, offset=4096),
    "a piece and its addresses are a page too far": one(1, offset=4096, vaddr=4096, paddr=4096),
    "a hole is a page too long": one(0, memsz=4096),
    "a hole is a page too short": one(0, memsz=-4096),
    "a hole begins in the middle of a page": one(0, filesz=64),
    "a hole lies over the piece behind it": one(1, vaddr=-4096),
    "a hole cannot be read": one(0, flags=-fmt.PF_R),
    "a hole is lost": lambda segments, hole: [*segments[:hole], *segments[hole + 1 :]],
    "a hole is not filled": without_zeros,
    "two pieces are exchanged": swapped,
    "zeros begin before a piece ends": without_bytes,
    "the program headers are a page too far": lambda segments, _: one(0, vaddr=4096)(segments, len(segments) - 1),
    "the program headers take another page": lambda segments, _: one(0, memsz=4096)(segments, len(segments) - 1),
    "the program headers can be written": lambda segments, _: one(0, flags=fmt.PF_W)(segments, len(segments) - 1),
}


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_program_headers(libraries: dict[str, Compacted], name: str, fault: str) -> None:
    library = libraries[name]
    segments = list(read(library.path).segments)
    assert not is_found_out(library, with_segments(library, segments))
    whole = {part.vaddr + part.filesz for part in read(library.source).loads}
    hole = next(n for n, part in enumerate(segments) if part.memsz > part.filesz and part.vaddr + part.filesz not in whole)
    assert is_found_out(library, with_segments(library, FAULTS[fault](segments, hole)))


def test_zeros_that_could_be_executed(libraries: dict[str, Compacted]) -> None:
    library = libraries[".text"]
    segments = list(read(library.path).segments)
    hole = next(number for number, part in enumerate(segments) if part.memsz > part.filesz)
    assert not segments[hole].flags & fmt.PF_X
    assert is_found_out(library, with_segments(library, one(0, flags=fmt.PF_X)(segments, hole)))


@pytest.mark.parametrize("name", LIBRARIES)
def test_pieces_that_are_copied_wrongly(libraries: dict[str, Compacted], name: str) -> None:
    library = libraries[name]
    outline = library.plan.outline
    pieces = list(outline.layout.pieces)
    live = [number for number, piece in enumerate(pieces) if piece.size == 4096]
    first, second = (pieces[number] for number in live[:2])

    def written(*changed: Piece) -> bytes:
        others = [piece for piece in pieces if piece not in (first, second)]
        target = library.path.with_name("copied.so")
        target.unlink(missing_ok=True)
        write_outline(library.source, target, replace(outline, layout=Layout((*others, *changed))), library.edits)
        return target.read_bytes()

    assert not is_found_out(library, written(first, second))
    assert is_found_out(library, written(first))
    assert is_found_out(library, written(replace(first, source=second.source), replace(second, source=first.source)))
    assert is_found_out(library, written(replace(first, source=first.source + 1), second))
    assert is_found_out(library, written(replace(first, target=first.target + 1, size=first.size - 1), second))


@pytest.mark.parametrize("name", LIBRARIES)
def test_sections_that_are_said_to_be_elsewhere(libraries: dict[str, Compacted], name: str) -> None:
    library = libraries[name]
    elf = read(library.path)

    def with_section(number: int, part: Section) -> bytes:
        data = bytearray(library.path.read_bytes())
        at = elf.header.shoff + number * elf.encoding.section.size
        data[at : at + elf.encoding.section.size] = elf.encoding.pack_section(part)
        return bytes(data)

    for number, part in enumerate(elf.sections):
        if part.is_loaded and part.filesz:
            for field in ("offset", "address", "size"):
                assert is_found_out(library, with_section(number, replace(part, **{field: getattr(part, field) + 8}))), (part.name, field)


def test_headers_without_alignment_that_lie_in_a_segment_of_their_own(tmp_path: Path) -> None:
    """It looks compacted, but there are no pages."""
    path = build_elf(tmp_path / "x", [Part(".text", b"code" * 100, flags=2), Part(".symtab", bytes(4800), type=fmt.SHT_SYMTAB)], align=1)
    elf = read(path)
    start, end = elf.segment_table
    table = Segment(fmt.PT_LOAD, fmt.PF_R, start, 1 << 20, 1 << 20, end - start, end - start, 0)
    segments = [replace(elf.loads[1], align=0), table]
    data = bytearray(path.read_bytes())
    data[start:end] = b"".join(map(elf.encoding.pack_segment, segments))
    path.write_bytes(data)
    plan = plan_strip(read(path))
    assert plan is not None
    write_stripped(path, tmp_path / "stripped", plan)
    with pytest.raises(UnsoundResultError, match="where nothing can be loaded"):
        check_same_program(path, tmp_path / "stripped")
