from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hatch_mlbundle.binaries.macho import Slice, check_same_macho, read_macho
from hatch_mlbundle.binaries.macho_signature import Signature
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, UnsoundResultError

HEAD = 0x1000
UUID = struct.pack("<II16s", 0x1B, 24, b"0123456789abcdef")


def command(number: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack(f"{order}II", number, 8 + len(body)) + body


def segment(name: bytes, address: int, size: int, offset: int, sections: list[tuple[bytes, int, int, int]], order: str, bits: int) -> bytes:
    pair = "QQ" if bits == 64 else "II"
    body = struct.pack(f"{order}16s{pair}{pair}iiII", name, address, size, offset, size, 7, 5, len(sections), 0)
    for section, at, length, where in sections:
        extra = (0,) if bits == 64 else ()
        numbers = (where, 0, 0, 0, 0, 0, 0, *extra)
        body += struct.pack(f"{order}16s16s{pair}{len(numbers)}I", section, name, at, length, *numbers)
    return command(0x19 if bits == 64 else 1, body, order)


def signature_of(code: bytes, *, owner: bytes = b"") -> bytes:
    """Return a signature as `codesign -s -` makes it: page hashes, and an empty place for the owner's own."""
    pages = [hashlib.sha256(code[at : at + 4096]).digest() for at in range(0, len(code), 4096)]
    directory = struct.pack(
        ">IIIIIIIIIBBBB", 0xFADE0C02, 44 + 32 * len(pages), 0x20000, 2, 44, 0, 0, len(pages), len(code), 32, 2, 0, 12
    ) + struct.pack(">I", 0)
    directory = directory[:44] + b"".join(pages)
    owners = struct.pack(">II", 0xFADE0B01, 8 + len(owner)) + owner
    index = struct.pack(">IIIII", 0, 28, 0x10000, 28 + len(directory), 0)[:16]
    blob = struct.pack(">III", 0xFADE0CC0, 0, 2) + index
    return blob + directory + owners


def build_macho(
    target: Path,
    *,
    bits: int = 64,
    order: str = "<",
    code: bytes = b"code" * 100,
    symbols: int = 10,
    local: int = 8,
    name: bytes = b"@rpath/libx.dylib",
    signed: bool = False,
    owner: bytes = b"",
    debug: bytes = b"",
) -> Path:
    """Write a library: header and commands, one page of code, its symbols, perhaps its signature."""
    start = HEAD
    at_symbols = start + len(code) + len(debug)
    size = symbols * (16 if bits == 64 else 12)
    commands = [
        segment(b"__TEXT", 0, HEAD + len(code), 0, [(b"__text", HEAD, len(code), start)], order, bits),
        command(0xD, struct.pack(f"{order}IIII", 24, 0, 0, 0) + name + b"\0", order),
        command(0x1B, b"0123456789abcdef", order),
        command(2, struct.pack(f"{order}IIII", at_symbols, symbols, at_symbols + size, 32), order),
        command(0xB, struct.pack(f"{order}18I", 0, local, *[0] * 16), order),
    ]
    if debug:
        commands.append(
            segment(b"__DWARF", 0, len(debug), start + len(code), [(b"__debug_info", 0, len(debug), start + len(code))], order, bits)
        )
    end = at_symbols + size + 32
    if signed:
        commands.append(command(0x1D, struct.pack(f"{order}II", end, len(signature_of(bytes(end), owner=owner))), order))
    body = b"".join(commands)
    magic = 0xFEEDFACF if bits == 64 else 0xFEEDFACE
    head = struct.pack(f"{order}IiiIIII", magic, 0x01000007, 3, 6, len(commands), len(body), 0x85) + (bytes(4) if bits == 64 else b"")
    data = (head + body).ljust(HEAD, b"\0") + code + debug + bytes(size + 32)
    target.write_bytes(data + signature_of(data, owner=owner) if signed else data)
    return target


def universal(target: Path, *parts: Path) -> Path:
    """Write a universal file of thin ones."""
    at, table, body = 4096, b"", b""
    for part in parts:
        data = part.read_bytes()
        table += struct.pack(">iiIII", 0x01000007, 3, at + len(body), len(data), 12)
        body += data
    target.write_bytes((struct.pack(">II", 0xCAFEBABE, len(parts)) + table).ljust(4096, b"\0") + body)
    return target


def read(path: Path) -> tuple[Slice, ...]:
    with Reader(path) as reader:
        return read_macho(reader)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_it_reads_both_word_sizes_and_byte_orders(tmp_path: Path, bits: int, order: str) -> None:
    (part,) = read(build_macho(tmp_path / "x.dylib", bits=bits, order=order, debug=b"d" * 64))
    assert [section.name for section in part.sections] == ["__text", "__debug_info"]
    assert (part.symbols, part.local_symbols, part.debug) == (10 * (16 if bits == 64 else 12) + 32, 8, 64)
    assert part.signature is Signature.NONE
    assert len(part.linking) == 2


def test_a_universal_file_has_slices(tmp_path: Path) -> None:
    thin = build_macho(tmp_path / "x"), build_macho(tmp_path / "y", local=3)
    path = universal(tmp_path / "z", *thin)
    assert [part.local_symbols for part in read(path)] == [8, 3]
    check_same_macho(path, path)


def test_signatures_are_told_apart(tmp_path: Path) -> None:
    assert read(build_macho(tmp_path / "x", signed=True))[0].signature is Signature.AD_HOC
    assert read(build_macho(tmp_path / "y", signed=True, owner=b"certificate"))[0].signature is Signature.IDENTITY


def test_the_same_without_symbols_is_the_same_program(tmp_path: Path) -> None:
    for signed in (False, True):
        original = build_macho(tmp_path / "x", signed=signed, debug=b"d" * 64)
        result = build_macho(tmp_path / "y", signed=signed, symbols=1, local=0)
        # The result lacks the debug segment, so its commands are shorter; nothing of that is loaded.
        check_same_macho(original, result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": b"cope" * 100}, "sections or their content differ"),
        ({"code": b"code" * 101}, "segments are at other addresses"),
        ({"name": b"@rpath/liby.dylib"}, "loaded libraries, name"),
        ({"signed": True}, "its signature is ad-hoc, not none"),
    ],
)
def test_a_difference_is_named(tmp_path: Path, change: dict[str, bytes], message: str) -> None:
    with pytest.raises(UnsoundResultError, match=message):
        check_same_macho(build_macho(tmp_path / "x"), build_macho(tmp_path / "y", **change))  # type: ignore[arg-type]


def test_a_signature_must_fit_the_code(tmp_path: Path) -> None:
    path = build_macho(tmp_path / "x", signed=True)
    data = bytearray(path.read_bytes())
    data[HEAD - 8] ^= 1  # padding that belongs to no section, yet is signed
    (tmp_path / "y").write_bytes(data)
    with pytest.raises(UnsoundResultError, match="does not fit its code"):
        check_same_macho(path, tmp_path / "y")


@pytest.mark.parametrize(
    "data", [b"", b"\xca\xfe\xba\xbe\0\0\0\0", b"\xca\xfe\xba\xbe\0\0\xff\xff", b"\xcf\xfa\xed\xfe", b"\x7fELF" + bytes(99)]
)
def test_what_is_none_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(BinaryError):
        read(tmp_path / "x")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 0x2000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 0x2000))
def test_any_bytes_changed_or_cut_it_is_an_error_of_ours(tmp_path: Path, flips: list[tuple[int, int]], cut: int) -> None:
    path = build_macho(tmp_path / "x", signed=True)
    data = bytearray(path.read_bytes())
    places = [*range(900), *range(len(data) - 250, len(data))]
    for at, value in flips:
        data[places[at % len(places)]] = value
    path.write_bytes(data[: cut or None] if cut < 1000 else data)
    try:
        read(path)
        check_same_macho(path, path)
    except (BinaryError, UnsoundResultError) as error:
        assert "\n" not in str(error)  # noqa: PT017
