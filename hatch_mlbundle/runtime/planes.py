"""Read the blocks of packed weight files: the bytes of numbers apart by their place, what repeats in them as Huffman codes.

A packed file (`model.safetensors.mlpack`, version 1, all numbers little-endian) is a head of 64 bytes and, for every `block` bytes of
the original (the last one shorter), a block:

    head   8 magic, u32 version, u32 block, u64 size of the original, 32 its SHA-256, u32 CRC-32 of these 56 bytes, u32 zero
    block  u32 length of what follows, u8 width, u8 turned, u8 phase, width times (u8 coding, u32 stored), loose bytes, planes

A block is `phase` loose bytes, then numbers of `width` bytes, then the loose bytes that fill no number. Plane i is the i-th byte of
every number, the least significant first: as it is (RAW), a raw deflate stream (DEFLATE, RFC 1951), or one byte that all of them are
(CONSTANT). Where `turned` is 1, the upper 16 bits of every number were turned left by one, so that the exponent of a float32 or
bfloat16 (IEEE 754: the 8 bits below the sign) is a byte of its own.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

MAGIC = b"MLPACK\r\n"
VERSION = 1
MAX_BLOCK = 1 << 20
"""Bytes of the original that a block may stand for, at most: what a reader must be able to hold, several times."""
MAX_RATIO = 1000
"""How many times as large as its packed file an original may be, at most, where it is above `FREE_SIZE` bytes."""
FREE_SIZE = 1 << 26
WIDTHS = (1, 2, 4, 8)
RAW, DEFLATE, CONSTANT = range(3)

HEAD_SIZE = 64
LENGTH = struct.Struct("<I")
LAYOUT = struct.Struct("<BBB")
PLANE = struct.Struct("<BI")
MOST_BESIDE = LAYOUT.size + 8 * PLANE.size
"""Bytes that a block may take beyond those that it stands for, at most."""

_HEAD = struct.Struct("<8sIIQ32sII")
_HALVES = bytes(value >> 1 for value in range(256))
_LOW_BITS = bytes((value & 1) << 7 for value in range(256))


class Head(NamedTuple):
    """What a packed file says of the original: bytes for each block, bytes in all, SHA-256."""

    block: int
    size: int
    sha256: bytes

    @property
    def blocks(self) -> int:
        """How many blocks follow."""
        return -(-self.size // self.block)

    def block_size(self, number: int) -> int:
        """Return how many bytes of the original a block stands for; they are counted from 0."""
        return min(self.block, self.size - number * self.block)


def write_head(head: Head) -> bytes:
    """Return a head as it stands in the file."""
    return _checked(_HEAD.pack(MAGIC, VERSION, head.block, head.size, head.sha256, 0, 0))


def read_head(data: bytes, packed_size: int) -> Head:
    """Return what the first `HEAD_SIZE` bytes of a packed file of `packed_size` bytes say; raises ValueError where it cannot be true."""
    if len(data) != HEAD_SIZE or not data.startswith(MAGIC):
        raise ValueError("it is no packed weight file; get it anew")
    _, version, block, size, sha256, _, _ = _HEAD.unpack(data)
    if version != VERSION:
        raise ValueError(f"it is packed in version {version} of the format, and this release reads version {VERSION}: use a newer one")
    if data != _checked(data):
        raise ValueError("its head is damaged; get it anew")
    head = Head(block, size, sha256)
    if not 0 < block <= MAX_BLOCK:
        raise ValueError(f"its head is wrong: blocks of {block} bytes; get it anew")
    least = LENGTH.size + LAYOUT.size + PLANE.size
    if size > max(FREE_SIZE, packed_size * MAX_RATIO) or head.blocks * least > packed_size:
        raise ValueError(f"its head is wrong: {packed_size} bytes do not unpack to {size}; get it anew")
    return head


def decode(block: memoryview, size: int) -> bytearray:
    """Return the `size` bytes that a block (without its length) stands for; raises ValueError where it is damaged."""
    if len(block) < LAYOUT.size:
        raise ValueError("a block is cut short")
    width, turned, phase = LAYOUT.unpack_from(block)
    if width not in WIDTHS or turned > (width > 1) or phase >= width or phase > size:
        raise ValueError("a block has a layout that there is not")
    count = (size - phase) // width
    loose = size - count * width
    start = LAYOUT.size + width * PLANE.size
    stored = list(PLANE.iter_unpack(block[LAYOUT.size : start])) if len(block) >= start else []
    if start + loose + sum(length for _, length in stored) != len(block):
        raise ValueError("a block has another length than its parts")
    planes = []
    at = start + loose
    for coding, length in stored:
        planes.append(_decode_plane(coding, block[at : at + length], count))
        at += length
    data = _interleaved(planes, turned=bool(turned)) if count else bytearray()
    if loose:
        data[:0] = block[start : start + phase]
        data += block[start + phase : start + loose]
    return data


def _checked(head: bytes) -> bytes:
    """Return the head with the checksum that belongs to it."""
    return head[:56] + struct.pack("<II", zlib.crc32(head[:56]), 0)


def _decode_plane(coding: int, stored: memoryview, count: int) -> bytes | memoryview:
    if coding == RAW and len(stored) == count:
        return stored
    if coding == CONSTANT and len(stored) == 1:
        return bytes(stored) * count
    if coding == DEFLATE and count:
        stream = zlib.decompressobj(-15)
        try:
            plane = stream.decompress(stored, count)
            ended = stream.eof or not stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise ValueError(f"a block cannot be decompressed ({error})") from error
        if len(plane) == count and stream.eof and ended and not stream.unused_data:
            return plane
    raise ValueError("a block has a part of a wrong length")


def _interleaved(planes: list[bytes | memoryview], *, turned: bool) -> bytearray:
    """Return the numbers, their bytes together again."""
    width = len(planes)
    data = bytearray(len(planes[0]) * width)
    numpy = _numpy()
    if numpy is not None:
        _interleave_by_numpy(numpy, data, planes, turned=turned)
        return data
    if turned:
        planes[-2:] = _turn_back(bytes(planes[-2]), bytes(planes[-1]))
    for place, plane in enumerate(planes):
        data[place::width] = plane
    return data


def _interleave_by_numpy(numpy: Any, data: bytearray, planes: list[bytes | memoryview], *, turned: bool) -> None:
    numbers = numpy.frombuffer(data, numpy.uint8).reshape(-1, len(planes))
    arrays = [numpy.frombuffer(plane, numpy.uint8) for plane in planes]
    if turned:
        upper = arrays[-1].astype("<u2")
        upper <<= 8
        upper |= arrays[-2]
        sign = upper << 15
        upper >>= 1
        upper |= sign
        numbers.view("<u2")[:, -1] = upper
    for place, array in enumerate(arrays[:-2] if turned else arrays):
        numbers[:, place] = array


def _turn_back(low: bytes, high: bytes) -> tuple[bytes, bytes]:
    """Turn 16-bit numbers right by one; integers of arbitrary size serve as vectors."""
    size = len(low)

    def united(left: bytes, right: bytes) -> bytes:
        return (int.from_bytes(left, "little") | int.from_bytes(right, "little")).to_bytes(size, "little")

    return united(low.translate(_HALVES), high.translate(_LOW_BITS)), united(high.translate(_HALVES), low.translate(_LOW_BITS))


_found: list[Any] = []


def _numpy() -> Any:
    """Return numpy, which turns numbers five times as fast, or None where it is not installed."""
    if not _found:
        try:
            import numpy as np
        except ImportError:
            _found.append(None)
        else:
            _found.append(np)
    return _found[0]
