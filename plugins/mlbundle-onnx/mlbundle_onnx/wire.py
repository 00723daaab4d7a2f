"""Read and write a serialized model without holding its weights: large tensor data is cut out on the way in, put back on the way out.

What is left is a small ModelProto, whose cut tensors name the bytes as external data under a marker that no file can have.
Encoding: https://protobuf.dev/programming-guides/encoding/. Field numbers: onnx/onnx.proto3.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from hatch_mlbundle.errors import ModelError

ORIGINAL = "\0original"
"""The location of data that was cut out of the model file: offset and length lie in that file."""

NEW = "\0new"
"""The location of data that was made anew, and is to be embedded in the model file."""

LARGE = 4096
"""Bytes from which on data is cut out."""

LARGEST_SKELETON = 256 << 20
"""Bytes that may be left of a model without its large tensors; more is no model that can be worked on in little memory."""

_WINDOW = 1 << 16
_COPY = 4 << 20
DEEPEST = 64
"""Messages within messages; real models have few graphs within graphs."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How a field's value is encoded."""
EXTERNAL_DATA, _RAW_DATA = 13, 9
"""Fields of a TensorProto."""
_TENSOR_DATA = frozenset({4, _RAW_DATA, 10})
"""Fields of a TensorProto that hold data as its elements lie in memory, little endian: float_data, raw_data, double_data."""

_Fields: TypeAlias = Mapping[int, str]
MESSAGES: Mapping[str, _Fields] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""The messages on the way to tensors, by the numbers of their fields."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes `start` to `start + length` of a file."""

    path: Path
    start: int
    length: int


Piece: TypeAlias = bytes | Range


def cut_out(path: Path) -> bytes:
    """Return the serialized model at `path` without the data of its large tensors; raises ModelError where it is no model's encoding."""
    with path.open("rb", buffering=0) as stream:
        window = Window(stream, os.fstat(stream.fileno()).st_size)
        out = bytearray()
        _cut(window, 0, window.size, "model", out, 0)
    return bytes(out)


def put_back(skeleton: bytes, locations: Mapping[str, Path]) -> list[Piece]:
    """Return the pieces of the serialized model, its cut data taken from the file that stands for each marker."""
    return list(_splice(skeleton, "model", locations))


def write_pieces(pieces: Sequence[Piece], target: Path) -> None:
    """Write the pieces one after the other into the new file `target`; raises ModelError where a file has grown shorter, OSError."""
    with target.open("xb", buffering=_WINDOW) as out:
        for piece in pieces:
            if isinstance(piece, Range):
                copy_range(piece, out)
            else:
                out.write(piece)


def copy_range(source: Range, out: BinaryIO) -> None:
    """Append the bytes to a stream, a few MB at a time; raises ModelError where the file ends before them, OSError."""
    with source.path.open("rb", buffering=0) as stream:
        stream.seek(source.start)
        left = source.length
        while left:
            chunk = stream.read(min(_COPY, left))
            if not chunk:
                raise ModelError(f"{source.path.name}: ends {left} bytes early")
            out.write(chunk)
            left -= len(chunk)


class Window:
    """A file that is read from the front, mostly: short reads come from a buffer."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._start = 0
        self._buffer = b""
        self.size = size

    def take(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end`; raises ModelError where the file ends before."""
        if not self._start <= start <= end <= self._start + len(self._buffer):
            if end - start > _WINDOW:
                return self._read(start, end - start)
            self._buffer, self._start = self._read(start, _WINDOW), start
        data = self._buffer[start - self._start : end - self._start]
        if len(data) < end - start:
            raise _damaged(start)
        return data

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Return the number at `position` and where it ends; raises ModelError."""
        value = 0
        data = self.take(position, min(position + 10, end))
        for count, byte in enumerate(data):
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value, position + count + 1
        raise _damaged(position)

    def _read(self, start: int, length: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(length)


def _cut(window: Window, start: int, end: int, message: str, out: bytearray, depth: int) -> None:
    """Append the message in `start` to `end` to `out`, without the data of large tensors."""
    if depth > DEEPEST:
        raise ModelError("its graphs are nested too deeply")
    data: tuple[int, int] | None = None
    position = start
    while position < end:
        first = position
        tag, position = window.varint(position, end)
        field, kind = tag >> 3, tag & 7
        body, position = value_of(window, position, end, kind)
        length = position - body
        inner = MESSAGES[message].get(field)
        if kind != BYTES or length < LARGE or not (inner or (message == "tensor" and field in _TENSOR_DATA)):
            _check_room(out, position - first)
            out += window.take(first, position)
        elif inner is not None:
            nested = bytearray()
            _cut(window, body, position, inner, nested, depth + 1)
            _check_room(out, len(nested))
            out += _field(field, bytes(nested))
        elif data is None:
            data = (body, length)
            out += _external(*data)
        else:
            raise ModelError("a tensor holds its data twice")


def value_of(window: Window, position: int, end: int, kind: int) -> tuple[int, int]:
    """Return where the value of a field begins and ends, in bytes of the file; raises ModelError where it is cut off."""
    if kind == VARINT:
        return position, window.varint(position, end)[1]
    if kind == BYTES:
        length, position = window.varint(position, end)
    elif kind in (FIXED64, FIXED32):
        length = 8 if kind == FIXED64 else 4
    else:
        raise _damaged(position)
    if length > end - position:
        raise _damaged(position)
    return position, position + length


def _check_room(out: bytearray, length: int) -> None:
    if len(out) + length > LARGEST_SKELETON:
        raise ModelError(f"has more than {LARGEST_SKELETON >> 20} MiB beside the data of its tensors")


def _external(start: int, length: int) -> bytes:
    entries = (("location", ORIGINAL), ("offset", str(start)), ("length", str(length)))
    return b"".join(_field(EXTERNAL_DATA, _field(1, key.encode()) + _field(2, value.encode())) for key, value in entries)


def _splice(data: bytes, message: str, locations: Mapping[str, Path]) -> Iterator[Piece]:
    """Yield the pieces of a message; parts without a marker are yielded whole."""
    markers = [marker.encode() for marker in locations]
    window = Window(io.BytesIO(data), len(data))
    position = plain = 0
    while position < len(data):
        first = position
        tag, position = window.varint(position, len(data))
        body, position = value_of(window, position, len(data), tag & 7)
        inner = MESSAGES[message].get(tag >> 3)
        if inner is None or tag & 7 != BYTES:
            continue
        content = data[body:position]
        if any(marker in content for marker in markers):
            yield data[plain:first]
            plain = position
            nested = list(_tensor(content, locations) if inner == "tensor" else _splice(content, inner, locations))
            yield _head(tag >> 3, sum(map(_length, nested)))
            yield from nested
    yield data[plain:]


def _tensor(content: bytes, locations: Mapping[str, Path]) -> Iterator[Piece]:
    """Yield a tensor's pieces, its external data under a marker made raw data."""
    from onnx import TensorProto

    tensor: Any = TensorProto.FromString(content)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = locations.get(entries.get("location", ""))
    if path is None:  # the marker stands in another field
        yield content
        return
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    length = int(entries["length"])
    yield tensor.SerializeToString(deterministic=True)
    yield _head(_RAW_DATA, length)
    yield Range(path, int(entries["offset"]), length)


def _length(piece: Piece) -> int:
    return piece.length if isinstance(piece, Range) else len(piece)


def _field(number: int, value: bytes) -> bytes:
    return _head(number, len(value)) + value


def _head(number: int, length: int) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(length)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _damaged(position: int) -> ModelError:
    return ModelError(f"is no ONNX model, or damaged: nothing can be read at byte {position}")
