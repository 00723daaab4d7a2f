from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hatch_mlbundle.binaries.pe import Pe, check_same_pe, read_pe
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, UnsoundResultError
from tests.elfsmith import need

MINGW = "x86_64-w64-mingw32-gcc"
SOURCE = "int data[3] = {1, 2, 3};\nstatic int helper(int x) { return x + data[0]; }\n"
SOURCE += "__declspec(dllexport) int visible(int x) { return helper(x); }\n"


def build_pe(target: Path, *, wide: bool = True, debug: bytes = b"d" * 512, signed: bool = False, code: bytes = b"\xc3") -> Path:
    """Write a DLL of two sections, `.text` and a debug section with a long name, and a symbol table of two symbols."""
    count = 2 if debug else 1
    optional = bytearray(240 if wide else 224)
    struct.pack_into("<H", optional, 0, 0x20B if wide else 0x10B)
    struct.pack_into("<I", optional, 16, 0x1000)
    directories = 108 if wide else 92
    struct.pack_into("<I", optional, directories, 16)
    if signed:
        struct.pack_into("<II", optional, directories + 4 + 4 * 8, 0x700, 0x20)
    names = b".debug_info\0"
    strings = struct.pack("<I", 4 + len(names)) + names
    symbols_at = 0x400 + len(debug)
    header = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    header += struct.pack("<HHIIIHH", 0x8664, count, 0, symbols_at if debug else 0, 2 if debug else 0, len(optional), 0x2022) + optional
    header += struct.pack("<8sIIIIIIHHI", b".text", len(code), 0x1000, 512, 0x200, 0, 0, 0, 0, 0x60000020)
    if debug:
        header += struct.pack("<8sIIIIIIHHI", b"/4", len(debug), 0x2000, len(debug), 0x400, 0, 0, 0, 0, 0x42000040)
    data = header.ljust(0x200, b"\0") + code.ljust(0x200, b"\0") + debug + (bytes(36) + strings if debug else b"")
    target.write_bytes(data + (b"s" * 0x700)[: 0x720 - len(data)] if signed else data)
    return target


def read(path: Path) -> Pe:
    with Reader(path) as reader:
        return read_pe(reader)


@pytest.mark.parametrize("wide", [True, False])
def test_it_reads_sections_symbols_and_long_names(tmp_path: Path, wide: bool) -> None:
    pe = read(build_pe(tmp_path / "x.dll", wide=wide))
    assert [part.name for part in pe.sections] == [".text", ".debug_info"]
    assert (pe.symbols, pe.debug, pe.is_signed, pe.payload) == (36 + 16, 512, False, 0)


def test_one_without_symbols_has_nothing_to_strip(tmp_path: Path) -> None:
    pe = read(build_pe(tmp_path / "x.dll", debug=b""))
    assert (pe.symbols, pe.debug) == (0, 0)


def test_a_signature_and_appended_data_are_noticed(tmp_path: Path) -> None:
    path = build_pe(tmp_path / "x.dll", signed=True)
    assert read(path).is_signed
    assert read(path).payload == 0
    path = build_pe(tmp_path / "y.dll")
    path.write_bytes(path.read_bytes() + b"application")
    assert read(path).payload == 11


def test_the_same_without_symbols_is_the_same_program(tmp_path: Path) -> None:
    check_same_pe(build_pe(tmp_path / "x.dll"), build_pe(tmp_path / "y.dll", debug=b""))


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (0x200, "content of its section '.text'"),
        (64 + 4, "headers differ"),
        (64 + 24 + 16, "headers differ"),
        (64 + 24 + 112, "data directories"),
    ],
)
def test_a_difference_is_named(tmp_path: Path, at: int, message: str) -> None:
    path = build_pe(tmp_path / "x.dll")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    (tmp_path / "y.dll").write_bytes(data)
    with pytest.raises(UnsoundResultError, match=message):
        check_same_pe(path, tmp_path / "y.dll")


def test_a_void_signature_is_no_sound_result(tmp_path: Path) -> None:
    with pytest.raises(UnsoundResultError, match="signature"):
        check_same_pe(build_pe(tmp_path / "x.dll", signed=True), build_pe(tmp_path / "y.dll", debug=b""))


def test_truncated_anywhere_it_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = build_pe(tmp_path / "x.dll").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "y.dll").write_bytes(whole[:size])
        with pytest.raises(BinaryError):
            read(tmp_path / "y.dll")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 0x1FF), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_bytes_changed_it_is_an_error_of_ours(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    path = build_pe(tmp_path / "x.dll")
    data = bytearray(path.read_bytes())
    for at, value in flips:
        data[at] = value
    path.write_bytes(data)
    try:
        read(path)
        check_same_pe(path, path)
    except (BinaryError, UnsoundResultError) as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("program", ["x86_64-w64-mingw32-strip", "llvm-strip"])
def test_real_programs_leave_the_same_program(tmp_path: Path, program: str) -> None:
    need(MINGW, program)
    (tmp_path / "x.c").write_text(SOURCE)
    path = tmp_path / "x.dll"
    subprocess.run([MINGW, "-shared", "-g", "-o", path, tmp_path / "x.c"], check=True)
    assert read(path).symbols > 0
    assert read(path).debug > 0
    subprocess.run([program, "-o", tmp_path / "y.dll", path], check=True)
    check_same_pe(path, tmp_path / "y.dll")
    assert read(tmp_path / "y.dll").debug == 0
