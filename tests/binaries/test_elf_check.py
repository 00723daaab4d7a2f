from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import UnsoundResultError
from tests.elfsmith import SOURCE, WIDE, Part, build_elf, compile_elf, need, patched_parts

Change = Callable[[bytearray, Elf], None]


def read(path: Path) -> Elf:
    with Reader(path) as reader:
        return read_elf(reader)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return compile_elf(tmp_path / "libx.so", "-Wl,--build-id", "-Wl,-soname,libx.so.1", "-Wl,-rpath,/opt/somewhere")


def changed(original: Path, change: Change) -> Path:
    target = original.with_name("changed.so")
    data = bytearray(original.read_bytes())
    change(data, read(original))
    target.write_bytes(data)
    return target


def in_section(name: str, at: int = 0) -> Change:
    def change(data: bytearray, elf: Elf) -> None:
        part = next(section for section in elf.sections if section.name == name)
        data[part.offset + at] ^= 1

    return change


def in_load(number: int, **fields: int) -> Change:
    def change(data: bytearray, elf: Elf) -> None:
        segment = replace(elf.loads[number], **fields)
        at = elf.header.phoff + elf.segments.index(elf.loads[number]) * elf.encoding.segment.size
        data[at : at + elf.encoding.segment.size] = elf.encoding.pack_segment(segment)

    return change


def in_header(**fields: int) -> Change:
    def change(data: bytearray, elf: Elf) -> None:
        data[: elf.encoding.header.size] = elf.encoding.pack_header(replace(elf.header, **fields))

    return change


def test_a_file_is_the_same_program_as_itself(original: Path) -> None:
    check_same_program(original, original)
    check_same_program(original, changed(original, in_section(".symtab")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (in_section(".text", 3), "content of segment 1 differs at address 0x"),
        (in_section(".tdata"), "content of segment"),
        (in_section(".eh_frame"), "content of segment"),
        (in_section(".dynsym", 25), "content of segment 0"),
        (in_section(".note.gnu.build-id", 20), "its build_id is"),
        (in_header(entry=0x1234), "file header differs"),
        (in_header(machine=183), "file header differs"),
        (in_header(phnum=3), "3 program headers, not"),
        (in_load(1, vaddr=0x9000), "program header 1 differs"),
        (in_load(1, flags=7), "program header 1 differs"),
        (in_load(3, memsz=0x10000), "program header 3 differs"),
        (in_load(1, offset=0x1010), "segment 1 is not aligned"),
        (in_load(1, offset=1 << 40), "lies outside the file"),
        (lambda data, elf: data.clear(), "is no ELF file"),
    ],
)
def test_the_first_difference_is_named(original: Path, change: Change, message: str) -> None:
    with pytest.raises(UnsoundResultError, match=message) as caught:
        check_same_program(original, changed(original, change))
    assert "\n" not in str(caught.value)


def test_names_in_the_dynamic_section_count(original: Path) -> None:
    def rename(old: bytes, new: bytes) -> Change:
        def change(data: bytearray, elf: Elf) -> None:
            part = next(section for section in elf.sections if section.name == ".dynstr")
            data[part.offset : part.end] = data[part.offset : part.end].replace(old, new)

        return change

    for old, new, field in (
        (b"libx.so.1", b"liby.so.1", "soname"),
        (b"ld-linux", b"ld-minix", "needed"),
        (b"somewhere", b"elsewhere", "runpath"),
    ):
        with pytest.raises(UnsoundResultError, match=f"its {field} is"):
            check_same_program(original, changed(original, rename(old, new)))


def test_a_lost_section_of_a_loaded_kind_is_named(original: Path) -> None:
    need("objcopy")
    target = original.with_name("lost.so")
    subprocess.run(["objcopy", "--rename-section", ".data=.other", str(original), str(target)], check=True)
    with pytest.raises(UnsoundResultError, match=r"loaded sections differ, '.data' among them"):
        check_same_program(original, target)


def test_a_section_that_nobody_knows_must_stay_as_it_is(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    without = build_elf(tmp_path / "y", patched_parts()[:-1])
    other = build_elf(tmp_path / "z", [*patched_parts()[:-1], Part("pydata", b"payload of another application..")])
    for target in (without, other):
        with pytest.raises(UnsoundResultError, match="'pydata' of 31 bytes is missing or differs"):
            check_same_program(path, target)


def test_appended_data_must_stay(tmp_path: Path) -> None:
    plain = build_elf(tmp_path / "x", patched_parts())
    path = tmp_path / "appended"
    path.write_bytes(plain.read_bytes() + b"payload")
    check_same_program(path, path)
    with pytest.raises(UnsoundResultError, match="7 bytes of appended data"):
        check_same_program(path, plain)


def test_segments_that_overlap_absurdly_are_refused(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", [Part(f"s{number}", b"x" * 10, flags=2) for number in range(300)], align=1)
    data = bytearray(path.read_bytes())
    elf = read(path)
    for number in range(len(elf.segments)):
        whole = replace(elf.segments[number], offset=0, filesz=elf.size, memsz=elf.size)
        at = elf.header.phoff + number * elf.encoding.segment.size
        data[at : at + elf.encoding.segment.size] = elf.encoding.pack_segment(whole)
    path.write_bytes(data)
    with pytest.raises(UnsoundResultError, match="overlap"):
        check_same_program(path, path)


@pytest.mark.parametrize("program", ["strip", "llvm-strip", "eu-strip"])
def test_the_result_of_any_strip_passes(tmp_path: Path, program: str) -> None:
    need(program)
    path = compile_elf(tmp_path / "libx.so")
    subprocess.run([program, "-o", str(tmp_path / "y"), str(path)], check=True)
    check_same_program(path, tmp_path / "y")


def test_what_binutils_breaks_is_caught(tmp_path: Path) -> None:
    """As in numpy's OpenBLAS: patchelf left loaded pages that no section describes, and strip takes them out."""
    need("patchelf", "strip")
    path = compile_elf(tmp_path / "libx.so", source=SOURCE + WIDE)
    for length in (200, 9000, 18000):
        subprocess.run(["patchelf", "--set-rpath", "/" + "x" * length, str(path)], check=True)
    target = shutil.copy(path, tmp_path / "y")
    subprocess.run(["strip", str(target)], check=True)
    with pytest.raises(UnsoundResultError):
        check_same_program(path, Path(target))
