"""Put fat binaries into ELF files as NVIDIA's compiler does, with a wrapper for each container, by whose pointer code finds it.

And read those of real libraries, down to what is compressed in them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.edits import EditedReader
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin_pruning import Pruning, prune
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.bundles.archives.zstd_stream import import_zstd
from tests.elfsmith import Part, build_elf

WRAPPER = struct.Struct("<IIQQ")
WRAPPER_MAGIC = 0x466243B1
LZ4, ZSTD = 0x2000, 0x8000


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


def decoded(entry: bytes) -> bytes:
    """Return the payload of an entry, without compression and padding: a cubin, PTX with a NUL at its end, or LTO-IR."""
    header, padded, stored = struct.unpack_from("<IQI", entry, 4)
    flags, size = struct.unpack_from("<Q8xQ", entry, 40)
    payload = entry[header : header + (stored or padded)]
    assert not any(entry[header + len(payload) : header + padded])
    assert len(entry) == header + padded
    if flags & LZ4:
        payload = pytest.importorskip("lz4.block").decompress(payload, uncompressed_size=size)
    elif flags & ZSTD:
        payload = import_zstd("reading fat binaries").decompress(payload)
    assert len(payload) == size or not stored
    return payload


def pruned_copy(source: Path, target: Path, wanted: str, ptx: Ptx = "when-needed") -> Pruning:
    """Write a library as it is after pruning, at its old size, for targets with spaces between."""
    with Reader(source) as reader:
        pruning = prune(elf_containers(reader, read_elf(reader)), [Target.parse(each) for each in wanted.split()], ptx)
        with target.open("wb") as stream:
            stream.writelines(EditedReader(reader, pruning.edits).chunks(0, reader.size, "all"))
    return pruning


def entries_of(path: Path) -> list[list[tuple[str, bytes]]]:
    """Return name, and header and payload, of all entries of each container of a library."""
    with Reader(path) as reader:
        found = elf_containers(reader, read_elf(reader))
        return [[(entry.name or "", reader.read(entry.offset, entry.size, "entry")) for entry in each.entries] for each in found]
