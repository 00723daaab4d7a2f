"""The blocks of a tar file (POSIX.1-2001, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
"""Bytes of a header; data are padded to a multiple of it."""

REGULAR, HARD_LINK, SYMBOLIC_LINK, FOLDER, SPARSE = b"0", b"1", b"2", b"5", b"S"
"""What a member is; `SPARSE` is GNU's file with holes."""
DEVICES = (b"3", b"4", b"6")
"""Character device, block device, pipe."""
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b"x", b"g", b"L", b"K"
"""What a header tells of the member behind it: pax records, and GNU's names of more than 100 bytes."""

_REGULAR_TOO = (b"\0", b"7")
_USTAR = b"ustar\0"


class TarFormatError(Exception):
    """A block that is no header, or a header that cannot be believed; the message goes on after "has"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header block as it is: `size` is the number of bytes of data behind it."""

    name: str
    type: bytes
    size: int
    mode: int
    link: str
    block: bytes


def read_header(block: bytes) -> Header:
    """Return what a block of 512 bytes says; raises TarFormatError."""
    if number(block[148:156]) != sum(block[:148]) + 256 + sum(block[156:]):
        raise TarFormatError("a tar header with a wrong checksum")
    name = text(block[:100])
    if block[257:263] == _USTAR and block[345]:
        name = f"{text(block[345:500])}/{name}"
    kind = block[156:157]
    if kind in _REGULAR_TOO:
        kind = FOLDER if kind == b"\0" and name.endswith("/") else REGULAR
    carries = kind not in (HARD_LINK, SYMBOLIC_LINK, FOLDER, *DEVICES)
    return Header(
        name=name,
        type=kind,
        size=number(block[124:136]) if carries else 0,
        mode=number(block[100:108]) & 0o7777,
        link=text(block[157:257]),
        block=block,
    )


def number(field: bytes) -> int:
    """Return an octal number, or GNU's binary one for what has no room as octal; raises TarFormatError."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise TarFormatError("a tar header with a negative number")
        return int.from_bytes(field[1:], "big")
    return _octal(field)


def _octal(field: bytes) -> int:
    digits = field.partition(b"\0")[0].strip(b" ") or b"0"
    if not digits.isdigit():
        raise TarFormatError("a tar header with a number that is none")
    try:
        return int(digits, 8)
    except ValueError:
        raise TarFormatError("a tar header with a number that is none") from None


def text(field: bytes) -> str:
    """Return a name, which may be of any bytes but NUL, where it ends."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def pax_records(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the records `LENGTH KEY=VALUE\\n` of a pax header; raises TarFormatError."""
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        end = position + decimal(data[position : max(space, position)])
        record = data[space + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if not (equals and key and record.endswith(b"\n") and end <= len(data)):
            raise TarFormatError("a pax header that is none")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        position = end


def decimal(digits: bytes | str) -> int:
    """Return a number written in at most 19 decimal digits; raises TarFormatError."""
    if not (digits.isdigit() and digits.isascii() and len(digits) < 20):
        raise TarFormatError("a number in a pax header that is none")
    return int(digits)
