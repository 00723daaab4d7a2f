"""AMD's GPU code in `.hip_fatbin`: bundles of code objects, by the architecture in their targets' names.

Source: clang/docs/ClangOffloadBundler.rst, "Bundled Binary File Layout" and "Compressed Bundle": `__CLANG_OFFLOAD_BUNDLE__`, u64 number of
entries, and for each u64 offset from the bundle's start, u64 bytes, u64 length of the target's name, the name, such as
`hipv4-amdgcn-amd-amdhsa--gfx90a:xnack-`. All numbers are little-endian; zero bytes pad bundles to pages.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from hatch_mlbundle.binaries.reader import RangeReader
from hatch_mlbundle.errors import BinaryError

from .inspector import HEADERS, OTHER, PADDING, Extent
from .parts import without_overlaps

MAGIC = b"__CLANG_OFFLOAD_BUNDLE__"
MOST_BUNDLES = 1 << 16
"""Bundles that are read of one section."""

_COUNT = struct.Struct("<Q")
_ENTRY = struct.Struct("<QQQ")
_MOST_ENTRIES = 1000
_LONGEST_TARGET = 1000
_ARCHITECTURE = re.compile(r"--(gfx[0-9a-z-]{1,30})(?::|$)")


def offload_extents(reader: RangeReader, start: int, end: int) -> Iterator[Extent]:
    """Yield what a section of offload bundles, bytes `start` to `end` of the file, is made of; raises BinaryError."""
    at = start
    for _ in range(MOST_BUNDLES):
        begin = reader.after_zeros(at, end)
        if begin > at:
            yield Extent(at, begin, PADDING)
        if begin == end:
            return
        at = begin
        for extent in without_overlaps(_bundle(reader, begin, end), end):
            if extent.start > at:
                yield Extent(at, extent.start, PADDING)
            yield extent
            at = extent.end
    raise BinaryError(f"{reader.path}: a section of GPU code has more than {MOST_BUNDLES} bundles")


def measure(data: bytes, begin: int) -> tuple[int, int] | None:
    """Return the bytes of the header of the bundle that begins there, and of the whole bundle; None where data end within the header.

    Both are 0 where no compiler writes such a header.
    """
    at = begin + len(MAGIC) + _COUNT.size
    if at > len(data):
        return None
    (count,) = _COUNT.unpack_from(data, at - _COUNT.size)
    if not 0 < count <= _MOST_ENTRIES:
        return 0, 0
    end = 0
    for _ in range(count):
        if at + _ENTRY.size > len(data):
            return None
        offset, size, length = _ENTRY.unpack_from(data, at)
        if length > _LONGEST_TARGET:
            return 0, 0
        at += _ENTRY.size + length
        end = max(end, offset + size)
    return (at - begin, max(end, at - begin)) if at <= len(data) else None


def _bundle(reader: RangeReader, begin: int, end: int) -> Iterator[Extent]:
    if reader.read(begin, min(len(MAGIC), end - begin), "offload bundle") != MAGIC:
        raise BinaryError(f"{reader.path}: there is no offload bundle at byte {begin}")
    at = begin + len(MAGIC)
    (count,) = _COUNT.unpack(reader.read(at, _COUNT.size, "offload bundle"))
    if not 0 < count <= _MOST_ENTRIES:
        raise BinaryError(f"{reader.path}: an offload bundle has {count} entries, which no real one has")
    at += _COUNT.size
    for _ in range(count):
        offset, size, length = _ENTRY.unpack(reader.read(at, _ENTRY.size, "offload bundle's entry"))
        at += _ENTRY.size
        if length > _LONGEST_TARGET or offset + size > end - begin:
            raise BinaryError(f"{reader.path}: an entry of an offload bundle does not fit into its section")
        target = reader.read(at, length, "offload bundle's target").decode("latin-1")
        at += length
        if not target.isprintable():
            raise BinaryError(f"{reader.path}: an offload bundle is for {target[:40]!a}, which no compiler is")
        if size:
            match = _ARCHITECTURE.search(target)
            yield Extent(begin + offset, begin + offset + size, match[1] if match else OTHER)
    if at > end:
        raise BinaryError(f"{reader.path}: an offload bundle is cut off")
    yield Extent(begin, at, HEADERS)
