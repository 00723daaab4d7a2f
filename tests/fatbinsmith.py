"""Put fat binaries into ELF files as NVIDIA's compiler does: with a wrapper for each container, by whose pointer code finds it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from tests.elfsmith import Part, build_elf

WRAPPER = struct.Struct("<IIQQ")
WRAPPER_MAGIC = 0x466243B1


def starts(data: bytes) -> Iterator[int]:
    """Yield where containers begin in a section, as far as it holds nothing but containers and zero bytes."""
    at = 0
    while at + 16 <= len(data):
        magic, _, header, body = struct.unpack_from("<IHHQ", data, at)
        if magic == 0xBA55ED50:
            yield at
            at += header + body
        elif magic == 0:
            at += 8
        else:
            return


def wrapper_assembly(data: bytes, symbol: str = "fatbins") -> str:
    """Return assembly for wrappers of all containers in the data, which lie behind the symbol."""
    lines = ['.section .nvFatBinSegment,"aw",@progbits', ".balign 8"]
    lines += [f".long {WRAPPER_MAGIC}, 1\n.quad {symbol}+{start}, 0" for start in starts(data)]
    return "\n".join([*lines, ".previous", ""])


def fatbin_library(target: Path, data: bytes, section: str = ".nv_fatbin", *, others: list[Part] | None = None) -> Path:
    """Write a library with the section and wrappers of its containers, byte by byte; `others` come first."""
    offsets = list(starts(data))

    def build(address: int) -> Path:
        wrappers = b"".join(WRAPPER.pack(WRAPPER_MAGIC, 1, address + start, 0) for start in offsets)
        parts = [*(others or []), Part(section, data, flags=2), Part(".nvFatBinSegment", wrappers, flags=3)]
        return build_elf(target, parts)

    with Reader(build(0)) as reader:
        address = next(each.address for each in read_elf(reader).sections if each.name == section)
    return build(address)
