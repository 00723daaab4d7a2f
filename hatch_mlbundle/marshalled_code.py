"""Read marshalled code objects without unmarshalling them: `marshal.loads` trusts its input, and knows one release of Python alone.

Format: CPython, Python/marshal.c (`r_object`); the fields of code objects as of Python 3.8 to 3.10, and of 3.11 and later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Constant: TypeAlias = Any
"""str, int, bytes, None, a tuple of constants, a `Code`; anything else that code may hold is None."""

OPTIMIZED = 0x1
"""Flag of the code of functions, lambdas and comprehensions; that of modules and class bodies, which runs at once, lacks it."""

_MAX_DEPTH = 200
_REFERENCED = 0x80
_INTEGER = struct.Struct("<i")
_LENGTH = struct.Struct("<I")
_NOTHING = frozenset(b"NTFS.")
_FIXED = {ord("g"): 8, ord("y"): 16, ord("I"): 8}
_SHORT_TEXT, _LONG_TEXT = frozenset(b"zZ"), frozenset(b"aAut")
_LONG_SEQUENCES = frozenset(b"([<>")


@dataclass(frozen=True, slots=True)
class Code:
    """A code object: as much of it as tells what it imports. `exceptions` is the table of Python 3.11 and later, None before."""

    name: str
    flags: int
    code: bytes
    constants: tuple[Constant, ...]
    names: tuple[Constant, ...]
    exceptions: bytes | None

    def nested(self) -> Iterator[Code]:
        """Yield the code objects among its constants: functions, classes and comprehensions defined in it."""
        return (constant for constant in self.constants if isinstance(constant, Code))


def read_code(data: bytes) -> Code:
    """Return the code object that `data` begins with; raises ValueError where it is damaged, or of no known form."""
    try:
        value = _Reader(data).value(0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"damaged code: {error}") from error
    if not isinstance(value, Code):
        raise ValueError("holds no code")
    return value


class _Reader:
    """Goes through the bytes once; what is marked as referenced is numbered before what it holds."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._seen: list[Constant] = []

    def value(self, depth: int) -> Constant:
        mark = self._data[self._at]
        self._at += 1
        kind = mark & 0x7F
        place = -1
        if mark & _REFERENCED:
            place = len(self._seen)
            self._seen.append(None)
        value = self._value(kind, depth)
        if place >= 0:
            self._seen[place] = value
        return value

    def _value(self, kind: int, depth: int) -> Constant:
        if kind in _SHORT_TEXT:
            return self._take(self._byte()).decode("latin-1")
        if kind == 0x72:  # r
            return self._seen[self._length()]
        if kind == 0x29:  # )
            return self._sequence(self._byte(), depth)
        if kind in _NOTHING:
            return None
        if kind == 0x69:  # i
            return _INTEGER.unpack(self._take(4))[0]
        if kind == 0x73:  # s
            return self._take(self._length())
        if kind in _LONG_TEXT:
            return self._take(self._length()).decode("utf-8", "surrogatepass")
        if kind == 0x63:  # c
            return self._code(depth + 1)
        if kind in _LONG_SEQUENCES:
            return self._sequence(self._length(), depth)
        return self._rare(kind, depth)

    def _rare(self, kind: int, depth: int) -> None:
        if kind in _FIXED:
            self._take(_FIXED[kind])
        elif kind == 0x6C:  # l
            self._take(2 * abs(_INTEGER.unpack(self._take(4))[0]))
        elif kind == 0x66:  # f
            self._take(self._byte())
        elif kind == 0x78:  # x
            self._take(self._byte())
            self._take(self._byte())
        elif kind == 0x3A:  # :
            self._sequence(3, depth)
        else:
            raise ValueError(f"damaged code: holds {chr(kind)!a}, which no code does")

    def _sequence(self, count: int, depth: int) -> tuple[Constant, ...]:
        if depth > _MAX_DEPTH or count > len(self._data) - self._at:
            raise ValueError("damaged code: promises more than there is")
        value = self.value
        return tuple([value(depth + 1) for _ in range(count)])

    def _code(self, depth: int) -> Code:
        if depth > _MAX_DEPTH:
            raise ValueError("damaged code: too deep")
        new = self._data[self._at + 20] & 0x7F == 0x73  # five numbers, then the instructions; six before Python 3.11
        numbers = self._take(20 if new else 24)
        value = self.value
        code, constants, names = value(depth), value(depth), value(depth)
        others = [value(depth) for _ in range(5)]  # names of variables, of the file and of itself
        self._take(4)
        value(depth)
        exceptions = value(depth) if new else None
        (flags,) = _LENGTH.unpack(numbers[-4:])
        if not (isinstance(code, bytes) and isinstance(constants, tuple) and isinstance(names, tuple)):
            raise ValueError("damaged code: its parts are of other types")
        return Code(str(others[3 if new else 4]), flags, code, constants, names, exceptions if isinstance(exceptions, bytes) else None)

    def _length(self) -> int:
        length: int = _LENGTH.unpack(self._take(4))[0]
        return length

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise ValueError("damaged code: ends too early")
        self._at += size
        return piece
