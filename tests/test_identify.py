from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.identify import HEAD, identify, identify_by_name
from hatch_mlbundle.model import Kind


def pe(offset: int) -> bytes:
    return (b"MZ" + bytes(58) + struct.pack("<I", offset)).ljust(offset, b"\0") + b"PE\0\0"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x7fELF\x02\x01", Kind.ELF),
        (b"!<arch>\nfoo", Kind.STATIC_LIBRARY),
        (b"!<thin>\nfoo", Kind.STATIC_LIBRARY),
        (b"GGUF\3\0\0\0", Kind.MODEL),
        (b"\x89PNG\r\n\x1a\n", Kind.IMAGE),
        (b"\x1f\x8b\x08", Kind.ARCHIVE),
        (b"\xcf\xfa\xed\xfe\x07\0\0\1", Kind.MACHO),
        (b"\xfe\xed\xfa\xce", Kind.MACHO),
        (b"\xca\xfe\xba\xbe\0\0\0\2", Kind.MACHO),
        (pe(128), Kind.PE),
    ],
)
@pytest.mark.parametrize("path", ["a.py", "pkg/x.txt", "x-1.dist-info/README", "noname"])
def test_bytes_tell_more_than_a_name(path: str, head: bytes, kind: Kind) -> None:
    assert identify(path, head) is kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.py", Kind.PYTHON),
        ("a/b.PY", Kind.PYTHON),
        ("a/b.pyi", Kind.TYPE_STUB),
        ("a/__pycache__/b.cpython-311.pyc", Kind.BYTECODE),
        ("a/b.h", Kind.HEADER),
        ("a/b.pyx", Kind.SOURCE),
        ("a/b.safetensors", Kind.MODEL),
        ("a/meson.build", Kind.BUILD),
        ("a/b.npz", Kind.DATA),
        ("a-1.dist-info/RECORD", Kind.METADATA),
        ("a-1.dist-info/licenses/x.py", Kind.METADATA),
        ("a.dist-info", Kind.OTHER),
        ("a/b.so", Kind.OTHER),
        ("Makefile", Kind.OTHER),
        ("", Kind.OTHER),
    ],
)
def test_a_name_tells_where_bytes_do_not(path: str, kind: Kind) -> None:
    assert identify(path, b"") is kind


@pytest.mark.parametrize(
    "head",
    [
        b"\xca\xfe\xba\xbe\0\0\0\x34",  # Java
        b"\xca\xfe\xba\xbe",
        b"MZ",
        b"MZ" + bytes(62),
        b"MZ" + bytes(58) + b"\xff\xff\xff\xff" + bytes(400),
        b"\x7fEL",
    ],
)
def test_bytes_that_only_resemble_a_binary(head: bytes) -> None:
    assert identify("x", head) is Kind.OTHER


@settings(deadline=None)
@given(st.binary(max_size=HEAD), st.text())
def test_nothing_makes_it_fail(head: bytes, path: str) -> None:
    assert identify(path, head) in Kind


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's interpreter is an ELF file")
def test_a_real_executable() -> None:
    with Path(sys.executable).open("rb") as stream:
        assert identify("python", stream.read(HEAD)) is Kind.ELF


NAMED = [
    "a.py",
    "x/b.PYC",
    "a.b/c.so",
    "Makefile",
    ".hidden",
    "a.",
    "pkg-1.dist-info/RECORD",
    "a.bin",
    "..py",
    "x.dat",
    "",
    "m.safetensors",
]


@pytest.mark.parametrize("path", NAMED)
def test_a_name_alone_tells_what_name_and_bytes_do(path: str) -> None:
    """Where it tells anything, and the bytes do not say otherwise."""
    assert identify_by_name(path) in (None, identify(path, b""))


def test_names_that_tell_nothing() -> None:
    assert [path for path in NAMED if identify_by_name(path) is None] == ["a.b/c.so", "Makefile", ".hidden", "a.", "a.bin", "x.dat", ""]
