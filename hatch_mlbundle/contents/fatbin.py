"""NVIDIA's fat binaries: what is in them for which architecture, by their headers alone.

NVIDIA publishes no specification. The header of a container is `fatBinaryHeader` in CUDA's own <fatbinary_section.h> and
<crt/fatbinary.h>; the entries' are as `cuobjdump -lelf -lptx` tells them of the same files (tests/contents/test_real_gpu_code.py):

    container  u32 magic, u16 version, u16 bytes of this header, u64 bytes of the entries
    entry      u16 kind, u16 version, u32 bytes of this header, u64 bytes of the payload with its padding, ...; at 28 u32 architecture,
               at 40 u64 flags

All numbers are little-endian. Zero bytes may lie between containers: padding, or what is left of one that was emptied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hatch_mlbundle.binaries.reader import RangeReader
from hatch_mlbundle.errors import BinaryError

from .inspector import HEADERS, OTHER, PADDING, Extent

MAGIC = 0xBA55ED50
CONTAINER = struct.Struct("<IHHQ")
ENTRY = struct.Struct("<HHIQ12xI8xQ")
"""Kind, version, bytes of the header and of the payload, architecture, flags: the first 48 bytes of an entry's header."""
PTX, CUBIN, LTO = 1, 2, 8
"""Kinds of entries."""
IS_LTO, IS_SPECIFIC, IS_FAMILY = 0x10000, 0x100000, 0x200000
"""Flags: LTO-IR; for just this architecture (`sm_90a`); for its family (`sm_100f`)."""
MOST_ENTRIES = 1 << 18
"""Entries and containers that are read of one section; the largest real libraries have some 10,000."""

_LARGEST_HEADER = 1 << 16
_ARCHITECTURES = range(10, 1000)


def fatbin_extents(reader: RangeReader, start: int, end: int) -> Iterator[Extent]:
    """Yield what a section of fat binaries, bytes `start` to `end` of the file, is made of, without a gap; raises BinaryError."""
    room = MOST_ENTRIES
    at = start
    while (begin := reader.after_zeros(at, end)) < end:
        if begin > at:
            yield Extent(at, begin, PADDING)
        entries, at = _open_container(reader, begin, end)
        yield Extent(begin, entries, HEADERS)
        for extent in _entries(reader, entries, at):
            yield extent
            room -= 1
        room -= 1
        if room < 0:
            raise BinaryError(f"{reader.path}: a section of GPU code has more than {MOST_ENTRIES} entries")
    if end > at:
        yield Extent(at, end, PADDING)


def _open_container(reader: RangeReader, at: int, end: int) -> tuple[int, int]:
    """Return where the entries of the container begin, and where they end."""
    if end - at < CONTAINER.size:
        raise _unbelievable(reader, at, "is cut off")
    magic, version, header, body = CONTAINER.unpack(reader.read(at, CONTAINER.size, "fat binary"))
    if magic != MAGIC or version != 1:
        raise _unbelievable(reader, at, "has another format")
    if not CONTAINER.size <= header <= _LARGEST_HEADER or header + body > end - at:
        raise _unbelievable(reader, at, "does not fit into its section")
    return at + header, at + header + body


def _entries(reader: RangeReader, at: int, end: int) -> Iterator[Extent]:
    while at < end:
        if end - at < ENTRY.size:
            raise _unbelievable(reader, at, "has an entry that is cut off")
        kind, _, header, payload, architecture, flags = ENTRY.unpack(reader.read(at, ENTRY.size, "fat binary's entry"))
        if not ENTRY.size <= header <= _LARGEST_HEADER or header + payload > end - at:
            raise _unbelievable(reader, at, "has an entry that does not fit into it")
        yield Extent(at, at + header + payload, _name(kind, architecture, flags))
        at += header + payload


def _name(kind: int, architecture: int, flags: int) -> str:
    """Return the name that nvcc has for such code (`-gencode arch=compute_90,code=[sm_90,lto_90]`)."""
    if architecture not in _ARCHITECTURES or kind not in (PTX, CUBIN, LTO):
        return OTHER
    number = f"{architecture}{'a' if flags & IS_SPECIFIC else 'f' if flags & IS_FAMILY else ''}"
    if kind == LTO or flags & IS_LTO:
        return f"lto_{number} (LTO-IR)"
    return f"sm_{number}" if kind == CUBIN else f"compute_{number} (PTX)"


def _unbelievable(reader: RangeReader, at: int, problem: str) -> BinaryError:
    return BinaryError(f"{reader.path}: the fat binary at byte {at} {problem}")
