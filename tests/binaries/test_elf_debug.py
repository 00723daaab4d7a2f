from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.elf_debug import debug_file_path, why_no_debug_file, write_debug_file
from hatch_mlbundle.binaries.elf_strip import plan_strip, write_stripped
from hatch_mlbundle.binaries.reader import Reader
from tests.elfsmith import SOURCE, WIDE, compile_elf, need, readelf

ID = "abcdef0123456789abcdef0123456789abcdef01"
BUILD_ID = f"-Wl,--build-id=0x{ID}"


def read(path: Path) -> Elf:
    with Reader(path) as reader:
        return read_elf(reader)


def split(path: Path, folder: Path) -> tuple[Path, Path]:
    """Return the stripped file and its debug file."""
    elf = read(path)
    debug = write_debug_file(path, elf, folder)
    plan = plan_strip(elf)
    assert plan is not None
    stripped = path.with_name(f"{path.name}.stripped")
    write_stripped(path, stripped, plan)
    return stripped, debug


def gdb(folder: Path, *commands: str) -> str:
    need("gdb")
    words = [word for command in (f"set debug-file-directory {folder}", *commands) for word in ("-ex", command)]
    environment = {"PATH": "/usr/bin:/bin", "DEBUGINFOD_URLS": "", "HOME": str(folder), "LC_ALL": "C"}
    return subprocess.run(["gdb", "-batch", "-nx", *words], check=True, capture_output=True, text=True, env=environment).stdout


def test_it_lies_where_debuggers_look(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", BUILD_ID)
    assert write_debug_file(path, read(path), tmp_path / "d") == tmp_path / "d" / ".build-id" / "ab" / f"{ID[2:]}.debug"
    assert debug_file_path("abcdef0123").as_posix() == ".build-id/ab/cdef0123.debug"


def test_it_has_every_section_but_no_loaded_bytes(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", BUILD_ID, source=SOURCE + WIDE)
    _, debug = split(path, tmp_path)
    whole, alone = read(path), read(debug)
    assert [(part.name, part.address, part.size) for part in alone.sections] == [
        (part.name, part.address, part.size) for part in whole.sections
    ]
    types = {part.name: part.type for part in alone.sections}
    assert types[".text"] == types[".dynsym"] == fmt.SHT_NOBITS
    assert types[".note.gnu.build-id"] == fmt.SHT_NOTE
    assert alone.build_id == ID
    for before, after in zip(whole.sections, alone.sections, strict=True):
        if before.filesz and not before.is_loaded:
            assert path.read_bytes()[before.offset : before.end] == debug.read_bytes()[after.offset : after.end]
    assert debug.stat().st_size < path.stat().st_size - next(part.size for part in whole.sections if part.name == ".text")
    readelf(debug, "-S", "-l", "-s", "--debug-dump=decodedline")


def test_gdb_finds_source_lines_and_local_functions(tmp_path: Path) -> None:
    stripped, _ = split(compile_elf(tmp_path / "libx.so", BUILD_ID), tmp_path / "debug")
    told = gdb(tmp_path / "debug", f"file {stripped}", "info line visible", "info symbol helper")
    line = 1 + SOURCE.splitlines().index("int visible(int x) {")
    assert f'Line {line} of "{tmp_path}/libx.so.c"' in told
    assert "helper in section .text" in told


@pytest.mark.skipif(sys.platform != "linux", reason="runs a program under gdb")
def test_gdb_gives_a_backtrace_with_lines(tmp_path: Path) -> None:
    source = "static int inner(int *p) {\n  return *p;\n}\nint main(int argc, char **argv) {\n  return inner((int *)(long)(argc - 1));\n}\n"
    stripped, _ = split(compile_elf(tmp_path / "program", "-pie", "-O0", BUILD_ID, source=source), tmp_path / "debug")
    told = gdb(tmp_path / "debug", f"file {stripped}", "set disable-randomization off", "run", "backtrace")
    assert f"inner (p=0x0) at {tmp_path}/program.c:2" in told
    assert "main (argc=1" in told


def test_an_own_debug_file_stays_as_it_is(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", BUILD_ID)
    debug = write_debug_file(path, read(path), tmp_path)
    before = debug.stat().st_mtime_ns
    assert write_debug_file(path, read(path), tmp_path) == debug
    assert debug.stat().st_mtime_ns == before


def test_without_a_build_id_the_reason_is_told(tmp_path: Path) -> None:
    reason = why_no_debug_file(read(compile_elf(tmp_path / "libx.so", "-Wl,--build-id=none")))
    assert reason is not None
    assert "build-id" in reason


def test_without_debug_data_the_reason_is_told(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", BUILD_ID)
    assert why_no_debug_file(read(path)) is None
    stripped, _ = split(path, tmp_path)
    assert why_no_debug_file(read(stripped)) == "it has no debug data and no symbol table"
