"""Read and write what Python's marshal makes of lists, tuples, strings and numbers: the table of contents of a PYZ archive.

`marshal.loads` trusts its input, and makes objects of code; this reads a table and nothing else, from any release of Python.
Format: CPython, Python/marshal.c.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

Value: TypeAlias = "int | str | list[Value] | tuple[Value, ...]"

_MAX_DEPTH = 8
_REFERENCED = 0x80
_SHORT_STRINGS, _LONG_STRINGS, _SEQUENCES = b"zZ", b"aAut", b"([)"
_LENGTH = struct.Struct("<I")
_INTEGER = struct.Struct("<i")


def read_table(data: bytes) -> Value:
    """Return the value that `data` begins with; raises ValueError where it is damaged, or holds anything but plain values."""
    try:
        return _Reader(data).value(0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"damaged table: {error}") from error


def write_table(value: Value) -> bytes:
    """Return the one marshal text of a value: no references, which depend on who else holds the objects."""
    if isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        short = len(encoded) == len(value) < 256
        return (b"z" + bytes([len(encoded)]) if short else b"u" + _LENGTH.pack(len(encoded))) + encoded
    if isinstance(value, int):
        return b"i" + _INTEGER.pack(value)
    short = isinstance(value, tuple) and len(value) < 256
    mark = b")" + bytes([len(value)]) if short else (b"[" if isinstance(value, list) else b"(") + _LENGTH.pack(len(value))
    return mark + b"".join(map(write_table, value))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._seen: list[Value | None] = []

    def value(self, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            raise ValueError("damaged table: too deep")
        (mark,) = self._take(1)
        kind = mark & ~_REFERENCED
        place = len(self._seen)
        if mark & _REFERENCED:
            self._seen.append(None)  # containers are numbered before what they hold
        value = self._sequence(kind, depth) if kind in _SEQUENCES else self._scalar(kind)
        if mark & _REFERENCED:
            self._seen[place] = value
        return value

    def _scalar(self, kind: int) -> Value:
        if kind in _SHORT_STRINGS:
            return self._take(self._take(1)[0]).decode("ascii")
        if kind in _LONG_STRINGS:
            return self._take(self._length()).decode("utf-8", "surrogatepass")
        if kind == ord("i"):
            number: int = _INTEGER.unpack(self._take(4))[0]
            return number
        if kind == ord("r"):
            return self._referred(self._length())
        raise ValueError(f"damaged table: holds {chr(kind)!r}, which is no list, string or number")

    def _sequence(self, kind: int, depth: int) -> Value:
        count = self._take(1)[0] if kind == ord(")") else self._length()
        if count > len(self._data) - self._at:
            raise ValueError("damaged table: promises more than there is")
        items = [self.value(depth + 1) for _ in range(count)]
        return items if kind == ord("[") else tuple(items)

    def _referred(self, place: int) -> Value:
        value = self._seen[place]
        if value is None:
            raise ValueError("damaged table: holds itself")
        return value

    def _length(self) -> int:
        length: int = _LENGTH.unpack(self._take(4))[0]
        return length

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise ValueError("damaged table: ends too early")
        self._at += size
        return piece
