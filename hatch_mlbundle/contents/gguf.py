"""The header of a GGUF file: where its tensors lie, and how they are stored.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the sizes of blocks are those of `ggml_type` in ggml.h and of
`GGML_QUANT_SIZES` in gguf-py/gguf/constants.py. Versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from hatch_mlbundle.errors import ModelError

from .inspector import Extent

TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Name, elements of a block and bytes of a block, by ggml's number of the type."""

MOST_TENSORS = 1 << 17
LONGEST_HEADER = 256 << 20
"""Bytes: vocabularies are in it."""

_MOST_ENTRIES = 1 << 16
_MOST_VALUES = 1 << 21
"""Strings and other values in arrays: the largest vocabularies, with their merges, have under a million."""
_MOST_AXES = 4
_MOST_BYTES = 1 << 62
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_ALIGNMENT = b"general.alignment"
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_DEEPEST = 4


def read_gguf(stream: BinaryIO, size: int, path: Path) -> tuple[int, list[Extent]]:
    """Return where the tensors' data begins in a file of `size` bytes, and each tensor's place with its type; raises ModelError, OSError.

    `stream` gives the file's first bytes, from the fifth on.
    """
    header = _Header(stream, size, path)
    version = header.number(_U32)
    if version not in (2, 3):
        raise header.fault(f"has version {version}")
    tensors, entries = header.number(_U64, MOST_TENSORS), header.number(_U64, _MOST_ENTRIES)
    alignment = 32
    for _ in range(entries):
        key, kind = header.string(), header.number(_U32)
        if key == _ALIGNMENT and kind == _UINT32:
            alignment = header.number(_U32)
        else:
            header.skip(kind)
    if not 0 < alignment <= 1 << 20:
        raise header.fault(f"has the alignment {alignment}")
    places = [_place(header) for _ in range(tensors)]
    start = -(-stream.tell() // alignment) * alignment if tensors else size
    return start, [Extent(start + offset, start + offset + length, name) for offset, length, name in places]


def _place(header: _Header) -> tuple[int, int, str]:
    """Return a tensor's offset from the start of all data, its bytes, and the name of its type."""
    header.string()
    shape = [header.number(_U64) for _ in range(header.number(_U32, _MOST_AXES))]
    kind, offset = header.number(_U32), header.number(_U64)
    if kind not in TYPES:
        raise header.fault(f"has a tensor of the type {kind}, which is not known")
    name, elements, size = TYPES[kind]
    blocks, rest = divmod(math.prod(shape), elements)
    if rest or blocks * size > _MOST_BYTES:
        raise header.fault(f"has a tensor of {math.prod(shape)} elements of the type {name}")
    return offset, blocks * size, name


class _Header:
    """Reads one value after another, none beyond the end of the file or of any real header."""

    def __init__(self, stream: BinaryIO, size: int, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._end = min(size, LONGEST_HEADER)
        self._room = _MOST_VALUES

    def take(self, size: int) -> bytes:
        self._demand(size)
        data = self._stream.read(size)
        if len(data) < size:
            raise self.fault("is cut off")
        return data

    def number(self, form: struct.Struct, most: int = _MOST_BYTES) -> int:
        (value,) = form.unpack(self.take(form.size))
        if value > most:
            raise self.fault(f"has the number {value} where at most {most} can be")
        return int(value)

    def string(self) -> bytes:
        return self.take(self.number(_U64))

    def skip(self, kind: int, depth: int = 0) -> None:
        """Pass over a value of this type."""
        if kind == _STRING:
            self._pass(self.number(_U64))
        elif kind == _ARRAY and depth < _DEEPEST:
            inner, count = self.number(_U32), self.number(_U64)
            if inner in _WIDTHS:
                self._pass(count * _WIDTHS[inner])
            else:
                self._room -= count
                if self._room < 0:
                    raise self.fault(f"has arrays of more than {_MOST_VALUES} values")
                for _ in range(count):
                    self.skip(inner, depth + 1)
        elif kind in _WIDTHS:
            self._pass(_WIDTHS[kind])
        else:
            raise self.fault(f"has a value of the type {kind}")

    def fault(self, problem: str) -> ModelError:
        return ModelError(f"{self._path}: the GGUF header {problem}")

    def _pass(self, size: int) -> None:
        self._demand(size)
        self._stream.seek(size, os.SEEK_CUR)

    def _demand(self, size: int) -> None:
        if size > self._end - self._stream.tell():
            raise self.fault("is cut off")
