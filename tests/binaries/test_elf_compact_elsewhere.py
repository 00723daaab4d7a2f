"""Compacted libraries under other loaders and processors, and in the hands of other people's tools."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_compact import why_not_compact
from hatch_mlbundle.binaries.elf_format import Segment
from hatch_mlbundle.binaries.elf_holes import choose_holes, page_size
from hatch_mlbundle.binaries.elf_layout import write_outline
from hatch_mlbundle.binaries.elf_rewrite import rewritten
from hatch_mlbundle.binaries.reader import Reader
from tests.deadsmith import KIB, Compacted, compact, dead_library, dead_ranges, dead_source, plan_of, read, run
from tests.elfmemory import load
from tests.elfsmith import WIDE, Part, build_elf, need

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes ELF libraries, and loads them")
SIZES = (200 * KIB, 300 * KIB, 150 * KIB)
USER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments) {
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (!library) { puts(dlerror()); return 2; }
    int sum = 0;
    for (int number = 0; number < 3; number++) {
        char name[20];
        snprintf(name, sizeof name, "live%d", number);
        const unsigned char *live = dlsym(library, name);
        for (int at = 0; at < 140000; at++) sum += live[at];
    }
    printf("%d %d", sum, ((int (*)(int))dlsym(library, "visible"))(-5));
    if (dlclose(library)) return 3;
    return 0;
}
"""
EXPECTED = f"{100 * (1 + 2 + 3)} 19"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def compacted(folder: Path) -> Compacted:
    return compact(dead_library(folder / "libx.so", SIZES, section=".nv_fatbin", more=WIDE))


def build(compiler: str, folder: Path, *flags: str, section: str = ".rodata") -> tuple[Path, Path]:
    """Compile library and user with some compiler."""
    need(compiler)
    (folder / "user.c").write_text(USER)
    (folder / "library.c").write_text(dead_source(SIZES, section))
    run(compiler, "-shared", "-fPIC", *flags, "-o", folder / f"lib-{compiler}.so", folder / "library.c")
    run(compiler, "-o", folder / f"user-{compiler}", folder / "user.c", "-ldl")
    return folder / f"lib-{compiler}.so", folder / f"user-{compiler}"


def test_musl_libraries_are_refused_for_a_reason(tmp_path: Path) -> None:
    """musl fills with zeros only what can be written; elsewhere the pages of a hole are other bytes of the file, or its end."""
    path, user = build("musl-gcc", tmp_path)
    with Reader(path) as reader:
        told = why_not_compact(reader, read(path))
    assert told is not None
    assert "musl" in told
    edits = dead_ranges(path)
    assert plan_of(path, edits) is None
    outline = rewritten(read(path), frozenset(), choose_holes(read(path), [(edit.target, edit.target + edit.size) for edit in edits]))
    write_outline(path, tmp_path / "forced.so", outline, edits)
    check_same_program(path, tmp_path / "forced.so", edits)
    result = subprocess.run([user, tmp_path / "forced.so"], check=False, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) != (0, EXPECTED)


@pytest.mark.parametrize("section", [".rodata", ".text", ".data"])
def test_64_kib_pages_of_another_processor(tmp_path: Path, section: str) -> None:
    need("qemu-aarch64")
    path, user = build("aarch64-linux-gnu-gcc", tmp_path, section=section)
    result = compact(path)
    elf = read(result.path)
    assert page_size(elf) == 64 * KIB
    assert all(start % (64 * KIB) == 0 and end % (64 * KIB) == 0 for start, end in result.plan.holes)
    assert result.plan.removed >= 384 * KIB
    for page in (4 * KIB, 16 * KIB, 64 * KIB):
        assert load(result.path, page).data[64:1000] == load(path, page).data[64:1000]
        check = ["qemu-aarch64", "-p", str(page), "-L", "/usr/aarch64-linux-gnu", user, result.path]
        assert run(*check) == EXPECTED


def test_a_library_for_4_kib_pages_alone_has_small_holes(tmp_path: Path) -> None:
    path, _ = build("aarch64-linux-gnu-gcc", tmp_path, "-Wl,-z,max-page-size=4096")
    assert page_size(read(compact(path).path)) == 4 * KIB


def test_program_headers_with_a_header_of_their_own(tmp_path: Path) -> None:
    """As lld writes them, for libraries as well; here it takes the place of a note."""
    path, user = build("gcc", tmp_path)
    elf, data = read(path), bytearray(path.read_bytes())
    start, end = elf.segment_table
    note = next(part for part in elf.segments if part.type == fmt.PT_NOTE)
    own = Segment(fmt.PT_PHDR, fmt.PF_R, start, start, start, end - start, end - start, 8)
    data[start:end] = b"".join(map(elf.encoding.pack_segment, [own, *(part for part in elf.segments if part is not note)]))
    path.write_bytes(data)
    result = compact(path).path
    assert read(result).segments[0].offset == read(result).header.phoff
    assert run(user, result) == EXPECTED


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_word_size_and_byte_order(tmp_path: Path, bits: int, order: str) -> None:
    def parts(strings_at: int) -> list[Part]:
        pack = read(first).encoding.dynamic.pack if strings_at else None
        entries = [(fmt.DT_NEEDED, 1), (fmt.DT_STRTAB, strings_at), (fmt.DT_STRSZ, 11), (0, 0)]
        dynamic = b"".join(pack(*entry) for entry in entries) if pack else bytes(64 if bits == 64 else 32)
        live = b"live" * 100 + b"\xdd" * 100_000 + b"more" * 100 + b"\xdd" * 70_000 + b"end"
        return [
            Part(".rodata", live, flags=2),
            Part(".dynstr", b"\0libc.so.6\0", type=fmt.SHT_STRTAB, flags=2),
            Part(".dynamic", dynamic, type=fmt.SHT_DYNAMIC, flags=2, link=2, entsize=bits // 4),
            Part(".debug_info", b"d" * 5000),
        ]

    first = tmp_path / "first"
    first = build_elf(first, parts(0), bits=bits, order=order, machine=21, align=4096)
    path = build_elf(tmp_path / "x", parts(read(first).sections[2].address), bits=bits, order=order, machine=21, align=4096)
    assert read(path).needed == ("libc.so.6",)
    for mode in (None, "all"):
        result = compact(path, mode, f"mode-{mode}")
        assert result.plan.removed > 150_000
        assert [load.vaddr for load in read(result.path).loads if load.filesz] == sorted(load.vaddr for load in read(result.path).loads)


def test_debuggers_and_symbol_readers_see_what_they_saw(compacted: Compacted) -> None:
    need("nm", "gdb", "objdump")
    assert run("nm", compacted.path) == run("nm", compacted.source)
    assert run("nm", "-D", compacted.path) == run("nm", "-D", compacted.source)
    for command in ("disassemble visible", "info line visible", "x/4xb &live0"):
        ask = ("gdb", "-nx", "-batch", "-ex", command)
        seen = run(*ask, compacted.path).replace("compacted-", "")
        assert re.sub(r'\nwarning: Loadable section ".nv_fatbin" outside of ELF segments\n.*\n', "", seen) == run(*ask, compacted.source)
    code = run("objdump", "-d", compacted.source).splitlines()[3:]
    assert run("objdump", "-d", compacted.path).splitlines()[3:] == code


def test_a_program_links_against_it(compacted: Compacted, tmp_path: Path) -> None:
    need("gcc")
    (tmp_path / "libx.so").write_bytes(compacted.path.read_bytes())
    # `live1` is copied into the program: the linker looks at the section that its symbol names.
    (tmp_path / "main.c").write_text("int visible(int); extern const char live1[]; int main(void) { return visible(2) + live1[0]; }")
    run("gcc", "-no-pie", "-o", tmp_path / "main", tmp_path / "main.c", f"-L{tmp_path}", "-lx", f"-Wl,-rpath,{tmp_path}")
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 2 * 3 + 4 + 2


def test_a_memory_checker_runs_it(compacted: Compacted, tmp_path: Path) -> None:
    need("valgrind", "gcc")
    (tmp_path / "user.c").write_text(USER)
    run("gcc", "-o", tmp_path / "user", tmp_path / "user.c", "-ldl")
    assert run(tmp_path / "user", compacted.path) == EXPECTED
    assert run("valgrind", "-q", "--error-exitcode=9", tmp_path / "user", compacted.path) == EXPECTED


def test_exceptions_pass_through_it(tmp_path: Path) -> None:
    """The unwinder looks for code and its tables by the program headers."""
    need("g++")
    thrown = 'extern "C" int thrown(int x) { try { if (x > 2) throw x; } catch (int y) { return y + 1; } return 0; }'
    (tmp_path / "x.cpp").write_text(dead_source(SIZES, ".text") + thrown)
    run("g++", "-shared", "-fPIC", "-Wl,-z,noseparate-code", "-o", tmp_path / "libx.so", tmp_path / "x.cpp")
    path = compact(tmp_path / "libx.so").path
    assert run(sys.executable, "-c", f"import ctypes; print(ctypes.CDLL('{path}').thrown(5))") == "6\n"


def test_auditwheel_takes_it(compacted: Compacted, tmp_path: Path) -> None:
    need("auditwheel", "patchelf")
    wheels = pytest.importorskip("wheel.wheelfile")
    name = tmp_path / "dead-1-py3-none-linux_x86_64.whl"
    with wheels.WheelFile(name, "w") as wheel:
        wheel.write(compacted.path, "dead/libx.so")
        wheel.writestr("dead-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: dead\nVersion: 1\n")
        wheel.writestr("dead-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n")
    assert "manylinux" in run(sys.executable, "-m", "auditwheel", "show", name)
    run(sys.executable, "-m", "auditwheel", "repair", "-w", tmp_path / "out", name)
    repaired = next((tmp_path / "out").iterdir())
    with wheels.WheelFile(repaired) as wheel:
        wheel.extract("dead/libx.so", tmp_path)
    run(sys.executable, "-c", f"import ctypes; assert ctypes.CDLL('{tmp_path}/dead/libx.so').visible(-5) == 19")
