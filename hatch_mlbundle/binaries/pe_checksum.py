"""The checksum in the optional header of a PE file, as `CheckSumMappedFile` computes it (Microsoft, PE Format, "Optional Header")."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable

CHECKSUM_SIZE = 4
_LFANEW = 60
_FIELD = 4 + 20 + 64
"""From the signature `PE` to the field: signature, file header, and what comes before it in the optional header."""


def checksum_offset(head: bytes) -> int | None:
    """Return where the checksum stands in a PE file that begins with `head`, None where it has none (0) or no such field."""
    if len(head) < _LFANEW + 4:
        return None
    at: int = struct.unpack_from("<I", head, _LFANEW)[0] + _FIELD
    if len(head) < at + CHECKSUM_SIZE or head[at - _FIELD : at - _FIELD + 4] != b"PE\0\0":
        return None
    return at if any(head[at : at + CHECKSUM_SIZE]) else None


def pe_checksum(chunks: Iterable[bytes], size: int) -> bytes:
    """Return the checksum, packed, of a file of `size` bytes whose checksum field holds zeros: all 16-bit words, folded, and the size."""
    total, rest = 0, b""
    for chunk in chunks:
        data = rest + chunk
        even = len(data) & ~1
        rest = data[even:]
        words = array("H", data[:even])
        if struct.pack("=H", 1) != struct.pack("<H", 1):
            words.byteswap()
        total += sum(words)
    total += sum(rest)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("<I", (total + size) & 0xFFFFFFFF)
