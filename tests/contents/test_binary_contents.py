from __future__ import annotations

import random
import re
import struct
import time
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.contents.binaries import WIDEST_PADDING, ElfInspector
from tests.binaries.test_macho import build_macho
from tests.binaries.test_pe import build_pe
from tests.contents.inspecting import inspecting, parts_of
from tests.elfsmith import PAGE, WIDE, Code, Part, build_elf, compile_elf, fatbin, readelf

TEXT = Part(".text", b"c" * 6000, flags=2)


def listed(path: Path) -> dict[str, int]:
    """Return the bytes in the file of each section, as readelf lists them."""
    row = re.compile(r"^ *\[ *\d+\] (\S+) +(\w+) +[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+)", re.MULTILINE)
    return {name: int(size, 16) for name, kind, size in row.findall(readelf(path, "-S")) if kind not in ("NOBITS", "NULL")}


@pytest.mark.parametrize("flags", [(), ("-O2", "-Wl,-z,separate-code"), ("-pie",), ("-static",), ("-c", "-ffunction-sections")])
def test_the_sections_are_those_that_readelf_lists(tmp_path: Path, flags: tuple[str, ...]) -> None:
    source = f"{WIDE}\nint zeros[1 << 20];\nint main(void) {{ return zeros[3]; }}"
    path = compile_elf(tmp_path / "lib.so", *flags, source=source)
    parts, sections = parts_of(path), listed(path)
    assert parts is not None
    named = {name: size for name, size in parts.items() if not name.startswith("(")}
    assert len(named) > 3
    assert {name: sections[name] for name in named} == named
    assert ".bss" not in named
    assert all(name in named for name, size in sections.items() if size > path.stat().st_size / 100)
    assert parts["(headers)"] >= 64 + 64 * len(sections)


def test_every_byte_has_a_name(tmp_path: Path) -> None:
    parts = [
        TEXT,
        Part(".data", b"d" * 3000, flags=3),
        Part("note", b"n" * 5000, gap=1000),
        Part("late", b"l" * 9000, gap=WIDEST_PADDING + 9),
    ]
    path = build_elf(tmp_path / "lib.so", [*parts, Part(".bss", b"x" * 999, type=fmt.SHT_NOBITS)])
    path.write_bytes(path.read_bytes() + b"appended" * 100)
    found = parts_of(path)
    assert found is not None
    assert (found[".text"], found[".data"], found["note"], found["late"]) == (6000, 3000, 5000, 9000)
    assert found["(headers)"] == 64 + 3 * 56 + 7 * 64
    assert found["(padding)"] < 3 * PAGE
    assert found["(other)"] > WIDEST_PADDING + 800


def test_small_sections_are_told_together(tmp_path: Path) -> None:
    small = [Part(f"s{number}", b"x" * 90) for number in range(20)]
    found = parts_of(build_elf(tmp_path / "lib.so", [Part(".text", b"c" * 100_000, flags=2), *small]))
    assert found is not None
    assert list(found) == [".text", "(padding)", "(other)", "(headers)"]
    assert found["(other)"] >= 20 * 90


@pytest.mark.parametrize("name", ["(headers)", "\x1b[31mred", "a" * 300, "new\nline", "<script>", "\u202egnp"])
def test_a_section_with_a_hostile_name_cannot_pass_for_another(tmp_path: Path, name: str) -> None:
    found = parts_of(build_elf(tmp_path / "lib.so", [Part(name, b"c" * 6000)]))
    assert found is not None
    assert set(found) - {"<script>", ".shstrtab"} <= {"(headers)", "(padding)", "(other)"}
    assert max(found.get("(other)", 0), found.get("<script>", 0)) >= 6000


def test_sections_that_overlap_are_counted_once(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "lib.so", [Part("one", b"1" * 4000), Part("two", b"2" * 4000), Part("three", b"3" * 100)])
    data = bytearray(path.read_bytes())
    shoff = struct.unpack_from("<Q", data, 40)[0]
    one = struct.unpack_from("<Q", data, shoff + 64 + 24)[0]
    struct.pack_into("<QQ", data, shoff + 2 * 64 + 24, one + 1000, 4000)
    struct.pack_into("<QQ", data, shoff + 3 * 64 + 24, one, 4000)
    path.write_bytes(data)
    found = parts_of(path)
    assert found is not None
    assert (found["one"], found["two"]) == (4000, 1000)
    assert "three" not in found


def test_without_a_section_table_only_the_headers_are_known(tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "lib.so")
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, 40, 0)
    struct.pack_into("<HHH", data, 58, 0, 0, 0)
    path.write_bytes(data)
    found = parts_of(path)
    assert found is not None
    assert list(found) == ["(other)", "(headers)"]


def test_thirty_two_bits_and_big_endian(tmp_path: Path) -> None:
    found = parts_of(build_elf(tmp_path / "lib.so", [TEXT], bits=32, order=">", machine=8))
    assert found is not None
    assert found[".text"] == 6000


def test_windows_libraries(tmp_path: Path) -> None:
    found = parts_of(build_pe(tmp_path / "x.dll", signed=True))
    assert found == {".text": 0x200, "(headers)": 0x200, ".debug_info": 0x200, "(other)": 0x120}


def test_mach_o_libraries(tmp_path: Path) -> None:
    path = build_macho(tmp_path / "x.dylib", code=b"code" * 100)
    found = parts_of(path)
    assert found == {"(headers)": 0x1000, "__TEXT,__text": 400, "(other)": path.stat().st_size - 0x1000 - 400}


def test_universal_mach_o_libraries(tmp_path: Path) -> None:
    thin = build_macho(tmp_path / "thin", code=b"code" * 100).read_bytes()
    (tmp_path / "fat").mkdir()
    path = tmp_path / "fat" / "x.dylib"
    table = b"".join(struct.pack(">iiIII", cpu, 0, 0x4000 * number, len(thin), 14) for number, cpu in ((1, 7), (2, 12)))
    fat = struct.pack(">II", 0xCAFEBABE, 2) + table
    path.write_bytes(fat.ljust(0x4000, b"\0") + thin.ljust(0x4000, b"\0") + thin)
    found = parts_of(path)
    assert found is not None
    assert (found["__TEXT,__text"], found["(headers)"]) == (800, 0x2000)


FIELDS = {
    "sections at 2^60": (40, "<Q", 2**60),
    "sections beyond the file": (40, "<Q", 10**6),
    "sections half beyond the file": (40, "<Q", 20_000),
    "segments at 2^60": (32, "<Q", 2**60),
    "65,535 sections": (60, "<H", 65535),
    "names in no section": (62, "<H", 60_000),
    "no size of section headers": (58, "<H", 0),
    "another class": (4, "<B", 7),
}


@pytest.mark.parametrize("name", FIELDS)
def test_headers_that_cannot_be_believed_give_no_row(tmp_path: Path, name: str) -> None:
    path = build_elf(tmp_path / "lib.so", [TEXT, Part(".nv_fatbin", fatbin(Code(80, b"x" * 800)))])
    offset, form, value = FIELDS[name]
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, value)
    path.write_bytes(data)
    assert parts_of(path) is None
    assert parts_of(path, "gpu") is None


@pytest.mark.parametrize("size", [2**60, 2**63, 2**64 - 1, 10**6])
def test_a_section_that_leaves_the_file_gives_no_row(tmp_path: Path, size: int) -> None:
    path = build_elf(tmp_path / "lib.so", [TEXT, Part("x", b"x")])
    data = bytearray(path.read_bytes())
    shoff = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, shoff + 2 * 64 + 32, size)
    path.write_bytes(data)
    assert parts_of(path) is None


def test_whatever_is_cut_off_or_damaged_is_told_right_or_not_at_all(tmp_path: Path) -> None:
    whole = build_elf(tmp_path / "lib.so", [TEXT, Part(".nv_fatbin", fatbin(Code(80, b"x" * 800)) * 3)]).read_bytes()
    path = tmp_path / "lib.so"
    numbers = random.Random(1)
    for _ in range(100):
        data = bytearray(whole[: numbers.randrange(4, len(whole))] if numbers.random() < 0.3 else whole)
        for _ in range(numbers.randrange(4)):
            data[numbers.randrange(4, len(data))] = numbers.randrange(256)
        path.write_bytes(data)
        parts_of(path)  # which sees that parts add up


def test_the_most_sections_that_are_read_take_no_long_time(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    count = 1 << 17
    build_elf(path, [Part("s", b"x" * 8)])
    data = bytearray(path.read_bytes())
    shoff = len(data)
    section = struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, 900, 0, 0, 1, 0)
    zero = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, count, 0, 0, 0, 0)
    struct.pack_into("<Q", data, 40, shoff)
    struct.pack_into("<HH", data, 60, 0, 0)
    path.write_bytes(data + zero + section * (count - 1))
    began = time.monotonic()
    found = parts_of(path, offered=inspecting(ElfInspector()))  # too large a table to be held of a stream
    assert found is not None
    assert found["(headers)"] >= 64 * count - 1000
    assert time.monotonic() - began < 20
