from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_strip import Mode, StripPlan, plan_strip, why_not, write_stripped
from hatch_mlbundle.binaries.reader import Reader
from tests.elfsmith import PAGE, SOURCE, WIDE, Part, build_elf, compile_elf, need, patched_parts, readelf


def read(path: Path) -> Elf:
    with Reader(path) as reader:
        return read_elf(reader)


def names(path: Path) -> list[str]:
    return [section.name for section in read(path).sections if section.name]


def strip(path: Path, mode: Mode = "all") -> tuple[Path, StripPlan]:
    """Strip and check a file that has something to lose."""
    plan = plan_strip(read(path), mode)
    assert plan is not None
    target = path.with_name(f"{path.name}.stripped")
    write_stripped(path, target, plan)
    check_same_program(path, target)
    assert target.stat().st_size == path.stat().st_size - plan.saves
    readelf(target, "-a")
    return target, plan


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="loads an ELF library")


@LINUX
@pytest.mark.parametrize("flags", [[], ["-Wl,--build-id=none"], ["-Wl,-z,noseparate-code"], ["-gz"], ["-Wl,-z,max-page-size=65536"]])
def test_a_library_loses_symbols_and_debug_data_and_works(tmp_path: Path, flags: list[str]) -> None:
    target, plan = strip(compile_elf(tmp_path / "libx.so", *flags))
    assert not {".symtab", ".strtab", ".debug_info", ".comment"} & set(names(target))
    assert {".dynsym", ".text", ".tdata", ".init_array"} <= set(names(target))
    assert plan.symbols > 500
    assert plan.debug > 200
    assert plan.remarks > 10
    assert ctypes.CDLL(str(target)).visible(5) == 5 * 3 + 4


def test_it_takes_as_much_as_binutils(tmp_path: Path) -> None:
    need("strip")
    path = compile_elf(tmp_path / "libx.so", source=SOURCE + WIDE)
    subprocess.run(["strip", "-o", str(tmp_path / "theirs"), str(path)], check=True)
    assert strip(path)[0].stat().st_size <= (tmp_path / "theirs").stat().st_size + 64


@LINUX
@pytest.mark.parametrize("kind", ["-static-pie", "-static", "-no-pie", "-pie"])
def test_an_executable_still_runs(tmp_path: Path, kind: str) -> None:
    path = compile_elf(tmp_path / "program", kind, source='#include <stdio.h>\nint main(void) { puts("here I am"); return 7; }')
    target, _ = strip(path)
    assert ".symtab" not in names(target)
    result = subprocess.run([str(target)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (7, "here I am\n")


def test_a_section_that_nobody_knows_stays(tmp_path: Path) -> None:
    """PyInstaller keeps an application's modules in the section `pydata` of its executable."""
    need("objcopy")
    path = compile_elf(tmp_path / "program", "-pie", source="int main(void) { return 0; }")
    (tmp_path / "payload").write_bytes(b"modules" * 1000)
    subprocess.run(["objcopy", "--add-section", f"pydata={tmp_path / 'payload'}", str(path)], check=True)
    target, _ = strip(path)
    part = next(section for section in read(target).sections if section.name == "pydata")
    assert target.read_bytes()[part.offset : part.end] == b"modules" * 1000


def test_debug_mode_leaves_the_symbols(tmp_path: Path) -> None:
    need("nm")
    path = compile_elf(tmp_path / "libx.so")
    target, plan = strip(path, "debug")
    assert plan.symbols == 0
    assert ".debug_info" not in names(target)

    def symbols(file: Path) -> str:
        return subprocess.run(["nm", str(file)], check=True, capture_output=True, text=True).stdout

    assert symbols(target) == symbols(path)
    assert "helper" in symbols(target)


def test_there_is_nothing_to_take_twice(tmp_path: Path) -> None:
    target, _ = strip(compile_elf(tmp_path / "libx.so", source=SOURCE + WIDE))
    assert plan_strip(read(target)) is None


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_behind_the_debug_data_move_by_whole_pages(tmp_path: Path, bits: int, order: str) -> None:
    path = build_elf(tmp_path / "x", patched_parts(bits=bits), bits=bits, order=order, machine=21)
    target, plan = strip(path)
    before, after = read(path), read(target)
    assert all(segment.is_aligned for segment in after.loads)
    assert before.loads[2].offset - after.loads[2].offset == 3 * PAGE
    assert [segment.vaddr for segment in before.loads] == [segment.vaddr for segment in after.loads]
    assert (plan.debug, plan.symbols) == (3 * PAGE, 48 + 8)
    assert b"payload of a frozen application" in target.read_bytes()


def test_no_section_that_stays_changes_its_number(tmp_path: Path) -> None:
    """The symbols in loaded memory name sections by number."""
    path = build_elf(tmp_path / "x", patched_parts())
    target, _ = strip(path)
    before, after = read(path).sections, read(target).sections
    assert [part.name for part in after] == ["", ".text", "", "", "", ".dynstr", "pydata", ".shstrtab"]
    assert [part.type for part in after[2:5]] == [fmt.SHT_NULL] * 3
    assert before[5].address == after[5].address


@LINUX
def test_a_patched_library_stays_good_for_linker_patchelf_and_strip(tmp_path: Path) -> None:
    need("patchelf", "strip")
    path = compile_elf(tmp_path / "libx.so", source=SOURCE + WIDE)
    subprocess.run(["patchelf", "--set-rpath", "/a/quite/long/path", str(path)], check=True)
    target, _ = strip(path)
    library = target.rename(tmp_path / "libz.so")
    subprocess.run(["patchelf", "--set-rpath", "/an/even/longer/path/than/the/one/before", str(library)], check=True)
    assert read(library).runpath == "/an/even/longer/path/than/the/one/before"
    subprocess.run(["strip", "-o", str(tmp_path / "again.so"), str(library)], check=True)
    assert ctypes.CDLL(str(library)).visible(5) == 19


@LINUX
def test_a_program_links_against_a_stripped_patched_library(tmp_path: Path) -> None:
    need("patchelf")
    path = compile_elf(tmp_path / "liborig.so", source=SOURCE + WIDE)
    subprocess.run(["patchelf", "--set-soname", "libstripped.so", str(path)], check=True)
    strip(path)[0].rename(tmp_path / "libstripped.so")
    text = tmp_path / "main.c"
    # `order` is copied into the program: the linker looks at the section that its symbol names.
    text.write_text("extern int order; int visible(int); int main(void) { return visible(2) + order; }")
    program = tmp_path / "program"
    subprocess.run(["gcc", "-no-pie", "-o", program, text, f"-L{tmp_path}", "-lstripped", f"-Wl,-rpath,{tmp_path}"], check=True)
    assert subprocess.run([program], check=False).returncode == 2 * 3 + 4 + 4


def test_strings_that_something_else_uses_stay(tmp_path: Path) -> None:
    parts = [
        Part(".text", b"code", flags=2),
        Part(".symtab", bytes(24), type=fmt.SHT_SYMTAB, link=3, info=1, entsize=24),
        Part(".strtab", b"\0name\0", type=fmt.SHT_STRTAB),
        Part("mine", b"m" * 30, link=3),
        Part(".debug_info", b"d" * 500),
    ]
    assert {".strtab", "mine"} <= set(names(strip(build_elf(tmp_path / "x", parts))[0]))


def test_symbols_that_something_else_uses_stay_with_their_strings(tmp_path: Path) -> None:
    parts = [
        Part(".symtab", bytes(24), type=fmt.SHT_SYMTAB, link=2, info=1, entsize=24),
        Part(".strtab", b"\0name\0", type=fmt.SHT_STRTAB),
        Part("mine", b"m" * 30, link=1),
        Part(".debug_info", b"d" * 500),
    ]
    assert {".symtab", ".strtab", "mine"} <= set(names(strip(build_elf(tmp_path / "x", parts))[0]))


def test_relocations_go_with_what_they_are_about(tmp_path: Path) -> None:
    parts = [
        Part(".text", b"code", flags=2),
        Part(".debug_info", b"d" * 500),
        Part(".rela.debug_info", bytes(24), type=fmt.SHT_RELA, info=2, entsize=24),
        Part(".rela.text", bytes(24), type=fmt.SHT_RELA, link=5, info=1, entsize=24),
        Part(".symtab", bytes(24), type=fmt.SHT_SYMTAB, link=6, info=1, entsize=24),
        Part(".strtab", b"\0", type=fmt.SHT_STRTAB),
    ]
    path = build_elf(tmp_path / "x", parts)
    assert names(strip(path)[0]) == [".text", ".shstrtab"]
    (tmp_path / "x.stripped").unlink()
    assert names(strip(path, "debug")[0]) == [".text", ".rela.text", ".symtab", ".strtab", ".shstrtab"]


def test_bytes_in_no_section_stay(tmp_path: Path) -> None:
    parts = [Part(".debug_info", b"d" * 500), Part("mine", b"m", gap=40)]
    path = build_elf(tmp_path / "x", parts)
    data = bytearray(path.read_bytes())
    at = data.index(b"d\0\0") + 5
    data[at : at + 6] = b"secret"
    path.write_bytes(data)
    assert b"secret" in strip(path)[0].read_bytes()


def test_loaded_debug_sections_stay(tmp_path: Path) -> None:
    """Rust's .debug_gdb_scripts is loaded."""
    parts = [Part(".debug_gdb_scripts", b"script", flags=2), Part(".debug_info", b"d" * 500)]
    assert ".debug_gdb_scripts" in names(strip(build_elf(tmp_path / "x", parts))[0])


def test_the_link_to_a_debug_file_stays(tmp_path: Path) -> None:
    parts = [Part(".gnu_debuglink", b"x.debug\0\1\2\3\4"), Part(".gnu_debugdata", b"d" * 500)]
    assert names(strip(build_elf(tmp_path / "x", parts))[0]) == [".gnu_debuglink", ".shstrtab"]


@pytest.mark.parametrize(
    ("type_", "machine", "appended", "reason"),
    [
        (fmt.ET_REL, 62, b"", "relocatable"),
        (fmt.ET_CORE, 62, b"", "core dump"),
        (9, 62, b"", "type 9"),
        (fmt.ET_EXEC, 190, b"", "machine type 190"),  # EM_CUDA
        (fmt.ET_DYN, 62, b"PK", "2 bytes of data are appended"),
        (fmt.ET_DYN, 62, b"", None),
        (fmt.ET_EXEC, 183, b"", None),
    ],
)
def test_what_must_not_be_stripped_is_told(tmp_path: Path, type_: int, machine: int, appended: bytes, reason: str | None) -> None:
    path = build_elf(tmp_path / "x", patched_parts(), type=type_, machine=machine)
    path.write_bytes(path.read_bytes() + appended)
    told = why_not(read(path))
    assert (reason in told) if reason and told else told == reason
    assert (plan_strip(read(path)) is None) == (reason is not None)


def test_too_little_to_gain_between_pages_is_no_plan(tmp_path: Path) -> None:
    assert plan_strip(read(build_elf(tmp_path / "x", patched_parts(debug=8)[:-1]))) is None


def test_the_source_is_not_touched(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    before = path.read_bytes()
    shutil.copy(path, tmp_path / "copy")
    strip(path)
    assert path.read_bytes() == before


def test_a_segment_without_bytes_may_stand_anywhere(tmp_path: Path) -> None:
    """PT_GNU_STACK has neither bytes nor a place."""
    path = build_elf(tmp_path / "x", [*patched_parts(), Part(".empty", b"", flags=2)])
    elf = read(path)
    data = bytearray(path.read_bytes())
    size, last = elf.encoding.segment.size, len(elf.segments) - 1
    stack = replace(elf.segments[last], type=0x6474E551, offset=1 << 40, vaddr=0, paddr=0, memsz=0)
    data[elf.header.phoff + last * size : elf.header.phoff + (last + 1) * size] = elf.encoding.pack_segment(stack)
    path.write_bytes(data)
    plan = plan_strip(read(path))
    assert plan is not None
    write_stripped(path, tmp_path / "y", plan)
    check_same_program(path, tmp_path / "y")


def test_names_that_are_loaded_keep_their_number(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    elf = read(path)
    data = bytearray(path.read_bytes())
    at = elf.header.shoff + elf.names_index * elf.encoding.section.size
    names_section = replace(elf.sections[elf.names_index], flags=fmt.SHF_ALLOC)
    data[at : at + elf.encoding.section.size] = elf.encoding.pack_section(names_section)
    path.write_bytes(data)
    plan = plan_strip(read(path))
    assert plan is not None
    write_stripped(path, tmp_path / "y", plan)
    check_same_program(path, tmp_path / "y")
    assert read(tmp_path / "y").names_index == elf.names_index
