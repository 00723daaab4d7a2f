"""The records of a zip archive (PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5), packed and unpacked."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

STORED = 0
"""Compression method: the bytes as they are (4.4.5)."""
DEFLATED = 8
"""Compression method: raw deflate (4.4.5, RFC 1951)."""

ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
"""Flags of an encrypted member, strongly encrypted ones and masked headers included (4.4.4)."""
DESCRIPTOR = 1 << 3
"""Flag of a member whose sizes and CRC-32 come behind its data, in a data descriptor (4.4.4)."""
PATCHED = 1 << 5
"""Flag of a member that holds compressed patch data (4.4.4)."""
UTF8 = 1 << 11
"""Flag of a member whose name is UTF-8; other names are code page 437 (4.4.4, appendix D)."""

U16_MAX = 0xFFFF
U32_MAX = 0xFFFFFFFF

LOCAL_SIGNATURE = b"PK\x03\x04"
CENTRAL_SIGNATURE = b"PK\x01\x02"
DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
END_SIGNATURE = b"PK\x05\x06"
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR_SIGNATURE = b"PK\x06\x07"

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")
_EXTRA = struct.Struct("<2H")
_ZIP64_ID = 0x0001
_EARLIEST = 315532800  # 1980-01-01 00:00:00 UTC
_LATEST = 4354819198  # 2107-12-31 23:59:58 UTC


class LocalHeader(NamedTuple):
    """The header before a member's data (4.3.7); laid out as `LOCAL`, then come name and extra fields."""

    signature: bytes
    version_needed: int
    flags: int
    method: int
    time: int
    date: int
    crc32: int
    compressed_size: int
    size: int
    name_length: int
    extra_length: int


class CentralHeader(NamedTuple):
    """A member's entry in the central directory (4.3.12); laid out as `CENTRAL`, then come name, extra fields and comment."""

    signature: bytes
    version_made_by: int
    version_needed: int
    flags: int
    method: int
    time: int
    date: int
    crc32: int
    compressed_size: int
    size: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    internal_attributes: int
    external_attributes: int
    offset: int


class EndRecord(NamedTuple):
    """The end of central directory record (4.3.16); laid out as `END`, then comes the archive comment."""

    signature: bytes
    disk: int
    directory_disk: int
    disk_entries: int
    entries: int
    directory_size: int
    directory_offset: int
    comment_length: int


class End64Record(NamedTuple):
    """The zip64 end of central directory record (4.3.14); laid out as `END64`. `record_size` leaves out its first 12 bytes."""

    signature: bytes
    record_size: int
    version_made_by: int
    version_needed: int
    disk: int
    directory_disk: int
    disk_entries: int
    entries: int
    directory_size: int
    directory_offset: int


class Locator(NamedTuple):
    """The zip64 end of central directory locator (4.3.15); laid out as `LOCATOR`."""

    signature: bytes
    disk: int
    end64_offset: int
    disks: int


def widen(values: tuple[int, ...], extra: bytes) -> tuple[int, ...]:
    """Replace each value that is 0xFFFFFFFF by its 64-bit form from the zip64 extra field (4.5.3).

    `values` stand in the order size, compressed size, offset. Raises ValueError where the field is absent or short.
    """
    wanted = [index for index, value in enumerate(values) if value == U32_MAX]
    fields = dict(reversed(list(_extra_fields(extra))))  # of two fields with one id the first counts
    if not wanted:
        return values
    body = fields.get(_ZIP64_ID, b"")
    if len(body) < 8 * len(wanted):
        raise ValueError("its zip64 extra field is missing or short")
    wide = iter(struct.unpack_from(f"<{len(wanted)}Q", body))
    return tuple(next(wide) if value == U32_MAX else value for value in values)


def narrow(values: tuple[int, ...]) -> tuple[tuple[int, ...], bytes]:
    """Return the 32-bit forms of these values and the zip64 extra field for those that need it (4.5.3), empty for none."""
    wide = [value for value in values if value >= U32_MAX]
    return tuple(min(value, U32_MAX) for value in values), zip64_field(wide) if wide else b""


def zip64_field(values: Sequence[int]) -> bytes:
    """Return the zip64 extra field that holds these values (4.5.3)."""
    return struct.pack(f"<2H{len(values)}Q", _ZIP64_ID, 8 * len(values), *values)


def descriptors(crc32: int, compressed_size: int, size: int) -> Iterator[bytes]:
    """Yield each form that the data descriptor behind a member may have (4.3.9): 32 or 64 bits, with or without signature."""
    bodies = [struct.pack("<I2Q", crc32, compressed_size, size)]
    if max(compressed_size, size) <= U32_MAX:
        bodies.append(struct.pack("<3I", crc32, compressed_size, size))
    for body in bodies:
        yield DESCRIPTOR_SIGNATURE + body
        yield body


def dos_timestamp(epoch: int) -> tuple[int, int]:
    """Return date and time as MS-DOS has them (4.4.6), of seconds since 1970 in UTC; what lies outside 1980 to 2107 is moved in."""
    moment = time.gmtime(min(max(epoch, _EARLIEST), _LATEST))
    date = (moment.tm_year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
    return date, moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield id and body of each extra field (4.5.1); a tail too short to be one is padding."""
    while len(extra) >= _EXTRA.size:
        identifier, length = _EXTRA.unpack_from(extra)
        if length > len(extra) - _EXTRA.size:
            raise ValueError("its extra fields are cut short")
        yield identifier, extra[_EXTRA.size : _EXTRA.size + length]
        extra = extra[_EXTRA.size + length :]
