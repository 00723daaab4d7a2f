from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import Elf, dynamic_symbols, dynamic_symbols_digest, read_elf, read_tables
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_format import Encoding, Header
from hatch_mlbundle.binaries.elf_strip import plan_strip, write_stripped
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, UnsoundResultError
from tests.elfsmith import Part, build_elf, compile_elf, need, patched_parts, readelf


def read(path: Path) -> Elf:
    with Reader(path) as reader:
        return read_elf(reader)


def test_it_reads_what_readelf_reads(tmp_path: Path) -> None:
    path = compile_elf(
        tmp_path / "libx.so", "-Wl,--build-id=0xabcdef0123", "-Wl,-soname,libx.so.1", "-Wl,-rpath,$ORIGIN/../y", "-Wl,--no-as-needed", "-lm"
    )
    elf = read(path)
    assert (elf.soname, elf.build_id, elf.runpath, elf.rpath) == ("libx.so.1", "abcdef0123", "$ORIGIN/../y", None)
    assert list(elf.needed) == re.findall(r"NEEDED.*\[(.*)\]", readelf(path, "-d"))
    assert [part.name for part in elf.sections[1:]] == re.findall(r"^ +\[ *[1-9]\d*\] (\S+)", readelf(path, "-S"), re.MULTILINE)
    assert len(elf.loads) == readelf(path, "-l").count("  LOAD ")
    assert elf.payload == 0


def test_an_old_rpath_is_told_from_a_runpath(tmp_path: Path) -> None:
    elf = read(compile_elf(tmp_path / "libx.so", "-Wl,--disable-new-dtags", "-Wl,-rpath,/opt"))
    assert (elf.rpath, elf.runpath) == ("/opt", None)


def test_no_build_id_is_none(tmp_path: Path) -> None:
    assert read(compile_elf(tmp_path / "libx.so", "-Wl,--build-id=none")).build_id is None


def test_dynamic_symbols_are_those_of_nm(tmp_path: Path) -> None:
    need("nm")
    path = compile_elf(tmp_path / "libx.so")
    with Reader(path) as reader:
        elf = read_elf(reader)
        symbols = list(dynamic_symbols(reader, elf))
        digest = dynamic_symbols_digest(reader, elf)
    shown = subprocess.run(["nm", "-D", "--without-symbol-versions", str(path)], check=True, capture_output=True, text=True).stdout
    assert sorted(symbol.name for symbol in symbols if symbol.name) == sorted(line.split()[-1] for line in shown.splitlines())
    assert {symbol.name: symbol.defined for symbol in symbols}["visible"]
    assert not {symbol.name: symbol.defined for symbol in symbols}["__tls_get_addr"]
    assert digest


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_word_sizes_and_byte_orders(tmp_path: Path, bits: int, order: str) -> None:
    path = build_elf(tmp_path / "x", patched_parts(bits=bits), bits=bits, order=order, machine=21)
    elf = read(path)
    assert [part.name for part in elf.sections[1:]] == [*(part.name for part in patched_parts()), ".shstrtab"]
    assert elf.loads[1].filesz == 400
    assert all(segment.is_aligned for segment in elf.loads)
    assert readelf(path, "-h", "-l", "-S").count("LOAD  ") == 3


def test_a_32_bit_library_of_gcc(tmp_path: Path) -> None:
    try:
        path = compile_elf(tmp_path / "libx.so", "-m32", "-nostdlib", "-Wl,-soname,small", source="int one(void) { return 1; }")
    except subprocess.CalledProcessError:
        pytest.skip("this gcc makes no 32-bit code")
    assert (read(path).encoding.bits, read(path).soname) == (32, "small")


def test_counts_may_stand_in_section_0(tmp_path: Path) -> None:
    plain = read(build_elf(tmp_path / "plain", patched_parts()))
    extended = read(build_elf(tmp_path / "extended", patched_parts(), extended=True))
    assert extended.header.shnum == 0
    assert extended.segments == plain.segments
    assert extended.sections[1:] == plain.sections[1:]
    assert extended.names_index == plain.names_index


def test_more_sections_than_16_bits_count(tmp_path: Path) -> None:
    parts = [Part(f"s{number}", b"") for number in range(66000)]
    path = build_elf(tmp_path / "x", [*parts, Part(".debug_info", bytes(100))])
    assert len(read(path).sections) == 66003
    plan = plan_strip(read(path))
    assert plan is not None
    write_stripped(path, tmp_path / "y", plan)
    # Empty headers stay for the sections in front of one that stays; only the last two move up.
    assert len(read(tmp_path / "y").sections) == 66002
    check_same_program(path, tmp_path / "y")


def test_appended_data_is_noticed_and_zeros_are_not(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read(path).payload == 0
    path.write_bytes(path.read_bytes() + b"zip")
    assert read(path).payload == 103


def test_no_section_table_is_no_fault(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    change_header(path, shoff=0, shnum=0, shstrndx=0)
    assert read(path).sections == ()


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(100), b"\x7fELF\x03\x01" + bytes(100), b"\x7fELF\x02\x07" + bytes(100)])
def test_what_is_no_elf_file_is_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(BinaryError, match=r"ELF|header"):
        read(path)


def change_header(path: Path, **fields: int) -> None:
    data = bytearray(path.read_bytes())
    encoding = Encoding.of(bytes(data[:16]))
    assert encoding is not None
    header = replace(Header(*encoding.header.unpack_from(data)), **fields)
    data[: encoding.header.size] = encoding.pack_header(header)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"phoff": 1 << 63}, "program headers"),
        ({"phnum": 60000}, "program headers"),
        ({"phentsize": 8}, "program headers of 8 bytes"),
        ({"shoff": (1 << 64) - 1}, "section headers"),
        ({"shnum": 60000}, "section headers"),
        ({"shentsize": 1}, "section headers of 1 bytes"),
        ({"shstrndx": 40}, "section names"),
    ],
)
def test_headers_that_lie_are_told_in_one_line(tmp_path: Path, fields: dict[str, int], message: str) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    change_header(path, **fields)
    with pytest.raises(BinaryError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["size", "info"])
def test_absurd_counts_in_section_0_cost_nothing(tmp_path: Path, field: str) -> None:
    path = build_elf(tmp_path / "x", patched_parts(), extended=True)
    data = bytearray(path.read_bytes())
    elf = read(path)
    first = replace(elf.sections[0], name_offset=0, **{field: 0xFFFFFFFF})
    data[elf.header.shoff : elf.header.shoff + elf.encoding.section.size] = elf.encoding.pack_section(first)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BinaryError, match="more than any real file"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_names_that_overlap_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Each of 40,000 sections has a name of 4,000 characters, all of them the same bytes of the file."""
    path = build_elf(tmp_path / "x", [Part("n" * 4000, b""), *(Part("", b"") for _ in range(40000))])
    data = bytearray(path.read_bytes())
    elf = read(path)
    for number in range(2, 40001):
        struct.pack_into("<I", data, elf.header.shoff + number * 64, 1)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BinaryError, match="names are longer"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_dynamic_names_that_overlap_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A library needs 60,000 others whose names have 4,000 characters, all of them the same bytes of the file."""

    def parts(names_at: int) -> list[Part]:
        entries = [(fmt.DT_STRTAB, names_at), (fmt.DT_STRSZ, 4000), *[(fmt.DT_NEEDED, 0)] * 60000]
        dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
        names = Part(".dynstr", b"n" * 4000, type=fmt.SHT_STRTAB, flags=2)
        return [names, Part(".dynamic", dynamic, type=fmt.SHT_DYNAMIC, flags=2)]

    with Reader(build_elf(tmp_path / "x", parts(0))) as reader:
        names_at = read_tables(reader).sections[1].address
    with pytest.raises(BinaryError, match="names in its dynamic section are longer"):
        read(build_elf(tmp_path / "x", parts(names_at)))


@pytest.mark.skipif(sys.platform == "win32", reason="sparse files")
def test_a_huge_file_is_read_in_little_memory(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    change_header(path, phoff=1 << 20, phnum=60000)
    os.truncate(path, 512 << 20)
    tracemalloc.start()
    read(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def work_through(path: Path, target: Path) -> None:
    """Do to a file whatever the product does; only our own errors may come out."""
    target.unlink(missing_ok=True)
    try:
        with Reader(path) as reader:
            elf = read_elf(reader)
            sum(1 for _ in dynamic_symbols(reader, elf))
        plan = plan_strip(elf)
        if plan is not None:
            write_stripped(path, target, plan)
            assert target.stat().st_size == plan.outline.size == elf.size - plan.saves
            check_same_program(path, target)
    except (BinaryError, UnsoundResultError) as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (32, ">")])
def test_truncated_anywhere_it_is_an_error_of_ours(tmp_path: Path, bits: int, order: str) -> None:
    whole = build_elf(tmp_path / "x", patched_parts(debug=64), bits=bits, order=order, align=64).read_bytes()
    path = tmp_path / "y"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(BinaryError):
            read(path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=12), bits=st.sampled_from([32, 64]))
def test_any_bytes_changed_it_is_an_error_of_ours_or_sound(tmp_path: Path, flips: list[tuple[int, int]], bits: int) -> None:
    path = build_elf(tmp_path / "x", patched_parts(debug=64), bits=bits, align=64, extended=len(flips) % 2 == 0)
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[at % len(data)] = value
    path.write_bytes(data)
    work_through(path, tmp_path / "y")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_real_library_with_changed_headers(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    original = tmp_path / "libx.so"
    if not original.exists():
        compile_elf(original)
    data = bytearray(original.read_bytes())
    tables = [*range(64 + 56 * 10), *range(len(data) - 64 * 30, len(data)), *range(0x2DF8, 0x2FF8)]
    for at, value in flips:
        data[tables[at % len(tables)]] = value
    path = tmp_path / "changed"
    path.write_bytes(data)
    work_through(path, tmp_path / "y")


def test_the_reader_refuses_what_lies_outside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    with Reader(path) as reader:
        assert reader.read(2, 3, "x") == b"234"
        assert reader.digest(0, 10, "x") == "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
        for offset, size in ((8, 3), (-1, 2), (3, -1), (11, 0), (0, 1 << 62)):
            with pytest.raises(BinaryError):
                reader.read(offset, size, "a table")


def test_constants_are_the_abi_s() -> None:
    assert struct.calcsize("<16sHHIQQQIHHHHHH") == Encoding(64, "<").header.size == 64
    assert [Encoding(64, "<").segment.size, Encoding(64, "<").section.size, Encoding(64, "<").symbol.size] == [56, 64, 24]
    assert [Encoding(32, "<").segment.size, Encoding(32, "<").section.size, Encoding(32, "<").symbol.size] == [32, 40, 16]
    assert fmt.MAGIC == b"\x7fELF"
