"""Make small ELF files: with gcc where it is there, byte by byte where no compiler for the machine is."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf_format import Encoding, Header, Section, Segment

PAGE = 4096
SOURCE = """
__thread int local = 3;
int order;
static int helper(int x) { return x * local; }
int visible(int x) {
    return helper(x) + order;
}
__attribute__((constructor)) static void start(void) { order = 4; }
"""
WIDE = "\n".join(f"int a_function_with_quite_a_long_name_{number}(int x) {{ return x + {number}; }}" for number in range(400))


def need(*programs: str) -> None:
    """Skip the test where one of the programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH")


def compile_elf(target: Path, *flags: str, source: str = SOURCE) -> Path:
    """Compile C to `target` with gcc: a shared library unless the flags say otherwise."""
    need("gcc")
    kind = () if {"-static-pie", "-pie", "-no-pie", "-static", "-c"} & set(flags) else ("-shared", "-fPIC")
    text = target.with_name(f"{target.name}.c")
    text.write_text(source)
    subprocess.run(["gcc", "-g", *kind, *flags, "-o", str(target), str(text)], check=True, capture_output=True)
    return target


def readelf(path: Path, *flags: str) -> str:
    """Return what binutils' readelf says of the file; it must not complain."""
    need("readelf")
    result = subprocess.run(["readelf", "-W", *flags, str(path)], check=True, capture_output=True, text=True)
    assert not result.stderr, result.stderr
    return result.stdout


@dataclass(frozen=True)
class Part:
    """A section to be built: ALLOC ones make up LOAD segments, one each, and begin on a page."""

    name: str
    data: bytes
    type: int = 1
    flags: int = 0
    link: int = 0
    info: int = 0
    entsize: int = 0
    gap: int = 0


def build_elf(
    target: Path,
    parts: list[Part],
    *,
    bits: int = 64,
    order: str = "<",
    type: int = fmt.ET_DYN,  # noqa: A002
    machine: int = 62,
    align: int = PAGE,
    extended: bool = False,
) -> Path:
    """Write an ELF file of these sections, in this order in the file, with the section names and headers at its end.

    Section numbers are the places in `parts`, from 1; the names come last. Each loaded section's address is its offset plus
    an extra page for each one before it, as a linker's (and patchelf's) pages are shifted. A section of type DYNAMIC has a segment
    of that type, too.
    """
    encoding = Encoding(bits, order)  # type: ignore[arg-type]
    loaded = [part for part in parts if part.flags & fmt.SHF_ALLOC]
    dynamics = [part for part in loaded if part.type == fmt.SHT_DYNAMIC]
    table_end = encoding.header.size + (len(loaded) + len(dynamics) + 1) * encoding.segment.size
    body = bytearray(table_end)
    segments = [Segment(fmt.PT_LOAD, 4, 0, 0, 0, table_end, table_end, align)]
    sections = [Section(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    dynamic: list[Segment] = []
    names = bytearray(b"\0")
    for part in parts:
        is_loaded = part in loaded
        body += bytes(-len(body) % (align if is_loaded else 4) + part.gap)
        offset = len(body)
        address = offset + align * len(segments) if is_loaded else 0
        body += part.data
        if is_loaded:
            segments.append(Segment(fmt.PT_LOAD, 6, offset, address, address, len(part.data), len(part.data), align))
        if part in dynamics:
            dynamic.append(replace(segments[-1], type=fmt.PT_DYNAMIC))
        size = len(part.data)
        sections.append(Section(len(names), part.type, part.flags, address, offset, size, part.link, part.info, 4, part.entsize))
        names += part.name.encode() + b"\0"
    segments += dynamic
    sections.append(Section(len(names), fmt.SHT_STRTAB, 0, 0, len(body), len(names) + 10, 0, 0, 1, 0))
    names += b".shstrtab\0"
    body += names + bytes(-len(body + names) % 8)
    ident = bytes([*fmt.MAGIC, 2 if bits == 64 else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    count, last = len(sections), len(sections) - 1
    header = Header(
        ident, type, machine, 1, 0, encoding.header.size, len(body), 0, encoding.header.size, encoding.segment.size,
        len(segments), encoding.section.size, count, last,
    )  # fmt: skip
    if extended or count >= fmt.SHN_LORESERVE:
        sections[0] = Section(0, 0, 0, 0, 0, count, last, len(segments), 0, 0)
        header = Header(*astuple(header)[:10], fmt.PN_XNUM, header.shentsize, 0, fmt.SHN_XINDEX)
    body += b"".join(map(encoding.pack_section, sections))
    body[: encoding.header.size] = encoding.pack_header(header)
    body[encoding.header.size : table_end] = b"".join(map(encoding.pack_segment, segments))
    target.write_bytes(body)
    return target


def patched_parts(debug: int = 3 * PAGE, bits: int = 64) -> list[Part]:
    """Return sections as patchelf leaves them: loaded ones behind the debug data and the symbols."""
    return [
        Part(".text", b"code" * 100, flags=2),
        Part(".debug_info", b"d" * debug),
        Part(".symtab", bytes(48), type=fmt.SHT_SYMTAB, link=4, entsize=24 if bits == 64 else 16),
        Part(".strtab", b"\0helper\0", type=fmt.SHT_STRTAB),
        Part(".dynstr", b"\0visible\0", type=fmt.SHT_STRTAB, flags=2),
        Part("pydata", b"payload of a frozen application"),
    ]


@dataclass(frozen=True)
class Code:
    """An entry of a fat binary: PTX (kind 1), a cubin (2) or LTO-IR (8) for an architecture; sizes that are None are as they should be."""

    architecture: int
    payload: bytes
    kind: int = 2
    flags: int = 0x11
    header: int = 64
    size: int | None = None


def fatbin(*entries: Code, version: int = 1, size: int | None = None, header: int = 16) -> bytes:
    """Return a container of NVIDIA's fat binaries, its entries padded to 8 bytes."""
    body = b""
    for each in entries:
        payload = each.payload + bytes(-len(each.payload) % 8)
        head = struct.pack("<HHIQII", each.kind, 0x101, each.header, len(payload) if each.size is None else each.size, 0, 64)
        head += struct.pack("<HHIIIQ", 8, 1, each.architecture, 0, 0, each.flags)
        body += head.ljust(64, b"\0") + payload
    return struct.pack("<IHHQ", 0xBA55ED50, version, header, len(body) if size is None else size) + body


def offload_bundle(targets: dict[str, bytes]) -> bytes:
    """Return a bundle as clang-offload-bundler writes it: code by the name of its target, each at a page of its own."""
    table = 32 + sum(24 + len(name) for name in targets)
    head = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(targets))
    body = bytearray(bytes(table))
    for name, code in targets.items():
        body += bytes(-len(body) % PAGE) if code else b""
        head += struct.pack("<QQQ", len(body), len(code), len(name)) + name.encode()
        body += code
    body[:table] = head
    return bytes(body)
