from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.edits import Literal, Move, Zero
from hatch_mlbundle.binaries.elf import Elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_compact import is_compacted, plan_compaction, why_not_compact
from hatch_mlbundle.binaries.elf_debug import write_debug_file
from hatch_mlbundle.binaries.elf_holes import MAX_LOADS, choose_holes
from hatch_mlbundle.binaries.elf_layout import write_outline
from hatch_mlbundle.binaries.elf_strip import plan_strip, write_stripped
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, StorageError, UnsoundResultError
from tests.deadsmith import DEAD, KIB, Compacted, compact, dead_library, dead_ranges, dead_source, edited, plan_of, read, run
from tests.elfmemory import same_memory
from tests.elfsmith import WIDE, compile_elf, need, readelf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes ELF libraries, and loads them")
SIZES = (64 * KIB, 20 * KIB, 3 * KIB, 500 * KIB, 80 * KIB)


def check_loaded(path: Path, count: int = len(SIZES), live: int = 100) -> None:
    """Load a library: what is live has its value, what is dead reads as zero, and code and data work."""
    library = ctypes.CDLL(str(path), os.RTLD_NOW)
    for number in range(count):
        found = bytes((ctypes.c_ubyte * (live + 3 * KIB)).in_dll(library, f"live{number}"))
        assert found == bytes([number % 200 + 1]) * live + bytes(3 * KIB)
    assert library.visible(-5) == 5 * 3 + 4
    library.zeros.restype = ctypes.POINTER(ctypes.c_char * 300000)
    zeros = library.zeros().contents
    assert zeros.raw == bytes(300000)
    zeros.raw = b"w" * 300000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dead")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Compacted:
    return compact(dead_library(folder / "libplain.so", SIZES, more=WIDE))


def test_dead_ranges_leave_the_file_and_read_as_zero(plain: Compacted) -> None:
    assert 600 * KIB < plain.plan.removed < sum(SIZES)
    assert abs(plain.plan.removed - plain.plan.saves) < 16 * KIB
    assert not is_compacted(read(plain.source))
    assert is_compacted(read(plain.path))
    readelf(plain.path, "-a")
    check_loaded(plain.path)
    assert DEAD.to_bytes(1, "little") * 9000 not in plain.path.read_bytes()


@pytest.mark.parametrize(
    ("section", "flags"),
    [
        (".nv_fatbin", ("-Wl,-z,noseparate-code",)),
        (".nv_fatbin", ("-Wl,-z,max-page-size=0x200000,-z,relro,-z,now",)),
        (".text", ()),
        (".text", ("-Wl,-z,noseparate-code,-z,max-page-size=0x200000",)),
        (".data", ()),
        (".data", ("-Wl,-z,noseparate-code,-z,relro,-z,now",)),
    ],
)
def test_it_is_so_in_every_kind_of_segment(tmp_path: Path, section: str, flags: tuple[str, ...]) -> None:
    result = compact(dead_library(tmp_path / "libx.so", SIZES, *flags, section=section))
    assert result.plan.removed > 600 * KIB
    readelf(result.path, "-a")
    check_loaded(result.path)
    before, after = read(result.source), read(result.path)
    assert max(load.align for load in before.loads) == after.loads[0].align
    assert not any(load.flags & fmt.PF_X and load.memsz > load.filesz for load in after.loads)


def test_dead_data_before_the_zeros_of_a_program_join_them(tmp_path: Path) -> None:
    """No program header is needed for that: the file is as any linker would write it."""
    path = dead_library(tmp_path / "libx.so", [400 * KIB], section=".data")
    result = compact(path)
    assert len(read(path).segments) <= len(read(result.path).segments) <= len(read(path).segments) + 2
    check_loaded(result.path, 1)


def test_a_section_that_is_read_as_one_run_stays_one(tmp_path: Path) -> None:
    result = compact(dead_library(tmp_path / "libx.so", SIZES, section=".nv_fatbin", live=5000))
    first, rest = (part for part in read(result.path).sections if part.name == ".nv_fatbin")
    data = result.path.read_bytes()[first.offset : first.end].replace(b"\0", b"").replace(bytes([DEAD]), b"")
    assert data == b"".join(bytes([number + 1]) * 5000 for number in range(len(SIZES)))
    assert (rest.type, rest.address) == (fmt.SHT_NOBITS, first.address + first.size)
    check_loaded(result.path, live=5000)


def test_other_sections_are_in_pieces_at_their_addresses(plain: Compacted) -> None:
    before = next(part for part in read(plain.source).sections if part.name == ".rodata")
    pieces = [part for part in read(plain.path).sections if part.name == ".rodata"]
    assert sum(part.size for part in pieces) == before.size
    loads = read(plain.path).loads
    for part in pieces:
        load = next(load for load in loads if load.vaddr <= part.address < load.vaddr + load.memsz)
        assert part.type == fmt.SHT_NOBITS or part.offset - load.offset == part.address - load.vaddr


def test_symbols_go_in_the_same_go(plain: Compacted, folder: Path) -> None:
    both = compact(plain.source, "all", "both")
    assert both.plan.saves > plain.plan.saves
    assert ".symtab" not in {part.name for part in read(both.path).sections}
    check_loaded(both.path)
    plan = plan_strip(read(plain.path))
    assert plan is not None
    write_stripped(plain.path, folder / "afterwards.so", plan)
    check_same_program(plain.path, folder / "afterwards.so")
    check_same_program(plain.source, folder / "afterwards.so", plain.edits)
    check_loaded(folder / "afterwards.so")
    assert abs((folder / "afterwards.so").stat().st_size - both.path.stat().st_size) <= 4 * KIB
    assert plan_strip(read(folder / "afterwards.so")) is None


def test_there_is_nothing_to_take_twice(plain: Compacted) -> None:
    assert plan_of(plain.path, dead_ranges(plain.path)) is None
    assert plan_of(plain.source, []) is None


def test_more_can_go_later(plain: Compacted, folder: Path) -> None:
    some = plain.edits[:2]
    plan = plan_of(plain.source, some)
    assert plan is not None
    write_outline(plain.source, folder / "libsome.so", plan.outline, some)
    again = compact(folder / "libsome.so")
    assert [len(read(again.path).segments), again.path.stat().st_size] == [
        len(read(plain.path).segments),
        plain.path.stat().st_size + (len(read(again.path).sections) - len(read(plain.path).sections)) * 64,
    ]
    check_same_program(plain.source, again.path, plain.edits)
    check_loaded(again.path)


def test_of_too_many_ranges_the_largest_go(tmp_path: Path) -> None:
    for section, flags, count in ((".rodata", (), 520), (".text", ("-Wl,-z,noseparate-code",), 280)):
        sizes = [(24 if number % 13 else 20) * KIB for number in range(count)]
        result = compact(dead_library(tmp_path / f"lib{section}.so", sizes, *flags, section=section, live=10))
        assert MAX_LOADS - 2 <= len(read(result.path).loads) <= MAX_LOADS
        assert sum(end - start < 20 * KIB for start, end in result.plan.holes) < count // 13
        check_loaded(result.path, count, live=10)
        check_small_stacks(tmp_path, result.path)


THREADS = """
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static const char *path;
static void *start(void *wanted) {
    void *library = wanted ? dlopen(path, RTLD_NOW) : 0;
    if (wanted && !library) { puts(dlerror()); _exit(2); }
    return library;
}
static void *in_thread(size_t stack, void *argument) {
    pthread_attr_t attributes; pthread_t thread; void *result;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, stack) || pthread_create(&thread, &attributes, start, argument)) _exit(3);
    pthread_join(thread, &result);
    return result;
}
int main(int count, char **arguments) {
    path = arguments[1];
    void *library = in_thread(128 << 10, main);
    for (int number = 0; number < 20; number++) in_thread(16384, 0);
    printf("%d", ((int (*)(int))dlsym(library, "visible"))(-5));
    return 0;
}
"""


def check_small_stacks(folder: Path, library: Path) -> None:
    """Load a library in a thread with the 128 KiB that musl gives every thread, then start threads with the least there is."""
    program = folder / "threads"
    if not program.exists():
        (folder / "threads.c").write_text(THREADS)
        run("gcc", "-o", program, folder / "threads.c", "-lpthread", "-ldl")
    assert run(program, library) == "19"


def test_a_hard_linked_source_keeps_its_bytes(plain: Compacted, folder: Path) -> None:
    before = plain.source.read_bytes()
    os.link(plain.source, folder / "linked.so")
    (folder / "linked.so").chmod(0o640)
    result = compact(folder / "linked.so")
    assert plain.source.read_bytes() == before
    assert result.path.stat().st_mode & 0o7777 == 0o640
    assert result.path.read_bytes() == plain.path.read_bytes()
    plain.source.chmod(0o755)


def test_a_file_without_section_headers_is_as_good(plain: Compacted, folder: Path) -> None:
    elf = read(plain.source)
    data = bytearray(plain.source.read_bytes()[: max(segment.end for segment in elf.segments)])
    data[: elf.encoding.header.size] = elf.encoding.pack_header(replace(elf.header, shoff=0, shnum=0, shstrndx=0))
    path = folder / "libbare.so"
    path.write_bytes(data)
    result = compact(path)
    assert result.plan.removed == plain.plan.removed
    readelf(result.path, "-ld")
    check_loaded(result.path)


@pytest.mark.parametrize("again", [False, True])
def test_patchelf_before_and_after(plain: Compacted, tmp_path: Path, again: bool) -> None:
    need("patchelf")
    path = tmp_path / "libpatched.so"
    path.write_bytes((plain.path if again else plain.source).read_bytes())
    long = "/" + "x" * 4000
    run("patchelf", "--set-soname", "libother.so", path)
    run("patchelf", "--set-rpath", long, path)  # patchelf 0.14 takes one for the other where both are set at once
    if not again:
        path = compact(path).path
    elf = read(path)
    assert (elf.runpath, elf.soname, is_compacted(elf)) == (long, "libother.so", True)
    check_loaded(path)
    assert same_memory(path, path.read_bytes(), path)
    plan = plan_strip(elf)
    assert plan is not None
    write_stripped(path, tmp_path / "stripped.so", plan)
    check_same_program(path, tmp_path / "stripped.so")
    check_loaded(tmp_path / "stripped.so")


def reason(path: Path) -> str | None:
    with Reader(path) as reader:
        told = why_not_compact(reader, read(path))
    assert (plan_of(path, dead_ranges(path)) is None) == (told is not None)
    return told


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("-pie", "-fPIE"), "a program"),
        (("-no-pie",), "a program"),
        (("-static-pie", "-fPIE"), "a program"),
        (("-Wl,-e,visible,-dynamic-linker,/lib64/ld-linux-x86-64.so.2,--section-start=.interp=0x400",), None),
        (("-nodefaultlibs",), "not linked against glibc"),
        (("-shared", "-Wl,-z,max-page-size=1024,-z,common-page-size=1024"), "less than a page"),
    ],
)
def test_what_cannot_be_compacted_is_told(tmp_path: Path, flags: tuple[str, ...], expected: str | None) -> None:
    source = dead_source(SIZES) + "int main(void) { return 0; }\n"
    told = reason(compile_elf(tmp_path / "x", *flags, source=source))
    assert (told is None) if expected is None else (told is not None and expected in told)


def changed(path: Path, target: Path, **fields: object) -> Path:
    """Copy a library with one of its LOADs changed: `number` which, the rest how."""
    elf: Elf = read(path)
    number = fields.pop("number")
    assert isinstance(number, int)
    load = elf.loads[number]
    data = bytearray(path.read_bytes())
    at = elf.header.phoff + elf.segments.index(load) * elf.encoding.segment.size
    data[at : at + elf.encoding.segment.size] = elf.encoding.pack_segment(replace(load, **fields))  # type: ignore[arg-type]
    target.write_bytes(data)
    return target


def test_segments_that_no_linker_makes_are_refused(plain: Compacted, folder: Path) -> None:
    loads = read(plain.source).loads
    target = folder / "changed.so"
    for fields, expected in (
        ({"number": 1, "vaddr": loads[0].vaddr}, "overlap"),
        ({"number": 1, "vaddr": loads[1].vaddr + 8}, "not aligned in the file"),
        ({"number": 0, "memsz": loads[1].vaddr + 1}, "overlap"),
        ({"number": 3, "memsz": (1 << 64) - (1 << 24)}, "no room for more"),
        ({"number": 3, "vaddr": loads[3].vaddr + (1 << 64) - (1 << 24)}, "no room for more"),
        ({"number": 1, "align": 1 << 40}, None),
    ):
        told = reason(changed(plain.source, target, **fields))
        assert (told is None) if expected is None else (told is not None and expected in told), fields


def test_dead_ranges_over_what_a_loader_reads_are_refused(plain: Compacted) -> None:
    elf = read(plain.source)
    for segment in elf.segments:
        if segment.type != fmt.PT_LOAD and segment.filesz:
            names = "|".join(
                fmt.SEGMENT_NAMES[part.type] for part in elf.segments if part.type in fmt.SEGMENT_NAMES and part.end == segment.end
            )
            with Reader(plain.source) as reader, pytest.raises(BinaryError, match=f"over its ({names}) segment"):
                plan_compaction(reader, elf, [(segment.end - 1, segment.end)])


def test_tables_of_other_kinds_keep_their_pages(plain: Compacted) -> None:
    """A range over the dynamic symbols and the file's own headers is taken for dead, but nothing of them goes."""
    elf = read(plain.source)
    end = next(part.offset for part in elf.sections if part.name == ".rodata")
    note = next(segment for segment in elf.segments if segment.type == fmt.PT_NOTE)
    assert choose_holes(elf, [(0, note.offset)]) == []
    assert all(start >= end for start, end in choose_holes(elf, [(note.end + 400, end)]))


def test_text_relocations_are_refused(plain: Compacted, folder: Path) -> None:
    elf = read(plain.source)
    dynamic = next(segment for segment in elf.segments if segment.type == fmt.PT_DYNAMIC)
    data = bytearray(plain.source.read_bytes())
    entries = list(elf.encoding.dynamic.iter_unpack(bytes(data[dynamic.offset : dynamic.end])))
    place = entries.index((0, 0))
    for tag, value in ((fmt.DT_TEXTREL, 0), (fmt.DT_FLAGS, fmt.DF_TEXTREL)):
        at = dynamic.offset + place * 16
        data[at : at + 16] = elf.encoding.dynamic.pack(tag, value)
        (folder / "textrel.so").write_bytes(data)
        told = reason(folder / "textrel.so")
        assert told is not None
        assert "text relocations" in told


def test_the_proof_wants_the_edited_bytes(plain: Compacted, folder: Path) -> None:
    """A range that is not zero afterwards must be in the file; a range that was kept must be as the edits leave it."""
    with pytest.raises(UnsoundResultError, match="content of segment 2 differs at address 0x"):
        check_same_program(plain.source, plain.path)
    with pytest.raises(UnsoundResultError, match="content of segment 2"):
        check_same_program(plain.source, plain.path, plain.edits[1:])
    check_same_program(plain.path, plain.path)
    write_outline(plain.source, folder / "unedited.so", plain.plan.outline)
    with pytest.raises(UnsoundResultError, match="content of segment 2 differs"):
        check_same_program(plain.source, folder / "unedited.so", plain.edits)
    assert not same_memory(plain.source, edited(plain.source, plain.edits), folder / "unedited.so")


@pytest.mark.parametrize(
    ("number", "fields", "message"),
    [
        (2, {"memsz": 4096 * 18}, "program headers, not|differs in more"),
        (3, {"flags": 6}, "program header 2 differs"),
        (3, {"vaddr": 1 << 30}, "program headers, not|differs in more"),
        (3, {"filesz": 64}, "content of segment 2 is missing|differs in more"),
        (3, {"align": 16}, "program header 2 differs"),
        (3, {"offset": 0}, "elsewhere in the file than the segment says"),
        (3, {"paddr": 0}, "program header 2 differs"),
        (0, {"align": 1024}, "program header 0 differs"),
        (-1, {"vaddr": 0x1000}, "loaded over something else"),
        (-1, {"flags": 6}, "program headers, not"),
        (-1, {"memsz": 1 << 20}, "program headers, not"),
        (-1, {"offset": 0x1000}, "program headers"),
    ],
)
def test_a_result_that_is_wrong_is_found_out(plain: Compacted, tmp_path: Path, number: int, fields: dict[str, int], message: str) -> None:
    wrong = changed(plain.path, tmp_path / "wrong.so", number=number, **fields)
    with pytest.raises(UnsoundResultError, match=message):
        check_same_program(plain.source, wrong, plain.edits)


def test_moved_and_new_bytes_are_written(plain: Compacted, folder: Path) -> None:
    """As pruning does it: what stays moves to the front, and the rest is zero."""
    first = plain.edits[0]
    edits = [
        Literal(first.target - 100, b"N" * 20),
        Move(first.target, first.target - 50, 40),
        Zero(first.target + 40, first.size - 40),
        *plain.edits[1:],
    ]
    target = folder / "edited.so"
    write_outline(plain.source, target, plain.plan.outline, edits)
    check_same_program(plain.source, target, edits)
    found = bytes((ctypes.c_ubyte * 150).in_dll(ctypes.CDLL(str(target)), "live0"))
    assert found == b"N" * 20 + b"\1" * 80 + b"\1" * 40 + bytes(10)


def test_a_write_that_fails_leaves_nothing_behind(plain: Compacted, folder: Path) -> None:
    import resource
    import signal

    with pytest.raises(BinaryError, match="leaves the file"):
        write_outline(plain.source, folder / "none.so", plain.plan.outline, [Zero(plain.source.stat().st_size, 1)])
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(StorageError, match="cannot be written"):
            write_outline(plain.source, folder / "none.so", plain.plan.outline, plain.edits)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (folder / "none.so").exists()


def test_its_debug_file_can_be_made_afterwards(plain: Compacted, folder: Path) -> None:
    need("gdb")
    debug = write_debug_file(plain.path, read(plain.path), folder / "debug")
    plan = plan_strip(read(plain.path))
    assert plan is not None
    write_stripped(plain.path, folder / "alone.so", plan)
    assert debug.stat().st_size < plain.source.stat().st_size
    ask = ("gdb", "-nx", "-batch", "-iex", f"set debug-file-directory {folder / 'debug'}", folder / "alone.so")
    assert "visible(int)" in run(*ask, "-ex", "ptype visible", "-ex", "info scope visible", "-ex", "info functions ^visible$")
