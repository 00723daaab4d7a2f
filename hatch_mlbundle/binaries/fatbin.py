"""NVIDIA's fat binaries: containers of GPU code, each entry of which is the same code for another architecture, by their headers alone.

NVIDIA publishes no specification. The sections are those of CUDA's own <fatbinary_section.h>; the header of a container is
`fatBinaryHeader` in <crt/fatbinary.h> of older releases; the entries' are as `fatbinary` writes them (tests/binaries/test_nvidia_tools.py)
and `cuobjdump -lelf -lptx` tells them of the same files (tests/contents/test_real_gpu_code.py):

    container  u32 magic, u16 version, u16 bytes of this header, u64 bytes of the entries
    entry      u16 kind, u16 version, u32 bytes of this header, u64 bytes of the payload with its padding, u32 bytes of the payload where it
               is compressed, u32 offset of options, u16 minor and u16 major version of the code, u32 architecture, u32 offset of a name,
               u32 bytes of it, u64 flags, then 8 bytes and the u64 number of uncompressed bytes; options and the name end the header

All numbers are little-endian. Zero bytes may lie between containers: padding, or what is left of one that was pruned.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from hatch_mlbundle.errors import BinaryError

from .reader import RangeReader

SECTIONS = frozenset({".nv_fatbin", "__nv_relfatbin"})
"""Sections of ELF files that hold containers, and nothing else: of linked code, and of code that is linked when the program runs."""
MAGIC = 0xBA55ED50
CONTAINER = struct.Struct("<IHHQ")
ENTRY = struct.Struct("<HHIQ12xI8xQ")
"""Kind, version, bytes of the header and of the payload, architecture, flags: the first 48 bytes of an entry's header."""
VERSION = 0x101
"""Of entries."""
PTX, CUBIN, LTO = 1, 2, 8
"""Kinds of entries. There are more: 256, for one, is several cubins in one stream (`fatbinary --concat`), and has no name here."""
IS_LTO, IS_SPECIFIC, IS_FAMILY = 0x10000, 0x100000, 0x200000
"""Flags: LTO-IR; for just this architecture (`sm_90a`); for its family (`sm_100f`)."""
_KNOWN_FLAGS = IS_LTO | IS_SPECIFIC | IS_FAMILY | 0x2000 | 0x8000 | 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x1000000
"""Those, and what says nothing of where code runs: LZ4, Zstandard, 64 bits, debug data, OpenCL, Linux, macOS, Windows, and one that
cubins for `sm_100` and later have.
"""
MOST_ENTRIES = 1 << 18
"""Entries and containers that are read of one section; the largest real libraries have some 10,000."""

_LARGEST_HEADER = 1 << 16
_ARCHITECTURES = range(10, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Code for one architecture (`80` for compute capability 8.0): `header` bytes at `offset` in the file, then `payload` bytes."""

    offset: int
    header: int
    payload: int
    kind: int
    version: int
    architecture: int
    flags: int

    @property
    def size(self) -> int:
        """Bytes of header and payload."""
        return self.header + self.payload

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.offset + self.size

    @property
    def is_understood(self) -> bool:
        """Whether its kind and all of its flags are known, so that they tell which GPUs can use it."""
        return self.name is not None and not self.flags & ~_KNOWN_FLAGS

    @property
    def is_lto(self) -> bool:
        """Whether it is LTO-IR: no code yet, but what a linker makes code of."""
        return self.kind == LTO or bool(self.flags & IS_LTO)

    @property
    def is_specific(self) -> bool:
        """Whether it is for exactly its architecture (`sm_90a`)."""
        return bool(self.flags & IS_SPECIFIC)

    @property
    def is_family(self) -> bool:
        """Whether it is for its architecture's family (`sm_100f`)."""
        return bool(self.flags & IS_FAMILY)

    @property
    def variant(self) -> str:
        """What nvcc puts behind the architecture's number: `a`, `f` or nothing."""
        return "a" if self.is_specific else "f" if self.is_family else ""

    @property
    def name(self) -> str | None:
        """The name that nvcc has for such code (`-gencode arch=compute_90,code=[sm_90,lto_90]`), None where the kind is not known."""
        if self.version != VERSION or self.architecture not in _ARCHITECTURES or self.kind not in (PTX, CUBIN, LTO):
            return None
        number = f"{self.architecture}{self.variant}"
        if self.is_lto:
            return f"lto_{number} (LTO-IR)"
        return f"sm_{number}" if self.kind == CUBIN else f"compute_{number} (PTX)"


Signature: TypeAlias = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A fat binary: `header` bytes at `offset` in the file, then its entries without a gap, `body` bytes.

    It `is_pinned` where no pointer in the file is known to name it: who reads it, and how, is not known.
    """

    offset: int
    header: int
    body: int
    entries: tuple[Entry, ...]
    is_pinned: bool = False

    @property
    def end(self) -> int:
        """Where its last entry ends."""
        return self.offset + self.header + self.body

    @property
    def signature(self) -> Signature:
        """Kind, version, architecture and flags of each entry: containers of one signature have code for the same GPUs."""
        return tuple((entry.kind, entry.version, entry.architecture, entry.flags) for entry in self.entries)


def read_containers(reader: RangeReader, start: int, end: int) -> Iterator[Container]:
    """Yield the containers of a section, bytes `start` to `end` of the file; only headers are read.

    Raises BinaryError where anything but containers and zero bytes lies there, and beyond MOST_ENTRIES of both together.
    """
    room = MOST_ENTRIES
    at = start
    while (at := reader.after_zeros(at, end)) < end:
        header, body = _open_container(reader, at, end)
        entries = []
        for entry in _entries(reader, at + header, at + header + body):
            entries.append(entry)
            if len(entries) > room:
                break
        room -= 1 + len(entries)
        if room < 0:
            raise BinaryError(f"{reader.path}: a section of GPU code has more than {MOST_ENTRIES} entries")
        yield Container(offset=at, header=header, body=body, entries=tuple(entries))
        at += header + body


def _open_container(reader: RangeReader, at: int, end: int) -> tuple[int, int]:
    """Return the bytes of the container's header, and of its entries."""
    if end - at < CONTAINER.size:
        raise _unbelievable(reader, at, "is cut off")
    magic, version, header, body = CONTAINER.unpack(reader.read(at, CONTAINER.size, "fat binary"))
    if magic != MAGIC or version != 1:
        raise _unbelievable(reader, at, "has another format")
    if not CONTAINER.size <= header <= _LARGEST_HEADER or header + body > end - at:
        raise _unbelievable(reader, at, "does not fit into its section")
    return header, body


def _entries(reader: RangeReader, at: int, end: int) -> Iterator[Entry]:
    while at < end:
        if end - at < ENTRY.size:
            raise _unbelievable(reader, at, "has an entry that is cut off")
        kind, version, header, payload, architecture, flags = ENTRY.unpack(reader.read(at, ENTRY.size, "fat binary's entry"))
        if not ENTRY.size <= header <= _LARGEST_HEADER or header + payload > end - at:
            raise _unbelievable(reader, at, "has an entry that does not fit into it")
        yield Entry(offset=at, header=header, payload=payload, kind=kind, version=version, architecture=architecture, flags=flags)
        at += header + payload


def _unbelievable(reader: RangeReader, at: int, problem: str) -> BinaryError:
    return BinaryError(f"{reader.path}: the fat binary at byte {at} {problem}")
