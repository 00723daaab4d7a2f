"""One gzip member (RFC 1952) without a name or time, deflated on all cores."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from hatch_mlbundle.bundles.deflate import BlockPool, deflate

_HEADER = struct.Struct("<2s2BI2B")
_TRAILER = struct.Struct("<2I")
_DEFLATE = 8
_UNKNOWN_SYSTEM = 255
_EXTRA_FLAGS = {1: 4, 9: 2}  # the fastest level, the slowest one; 0 for any other


def write_gzip(chunks: Iterable[bytes], sink: Callable[[bytes], object], *, level: int, workers: int) -> None:
    """Write `chunks` to `sink` as a gzip file of zlib's `level`, 1 to 9; the bytes depend on those, and on zlib's release, alone."""
    sink(_HEADER.pack(b"\x1f\x8b", _DEFLATE, 0, 0, _EXTRA_FLAGS.get(level, 0), _UNKNOWN_SYSTEM))
    with BlockPool(workers) as pool:
        deflated = deflate(chunks, sink, level=level, pool=pool)
    sink(_TRAILER.pack(deflated.crc32, deflated.size & 0xFFFFFFFF))
