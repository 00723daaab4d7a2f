"""What ONNX models are made of: the data of tensors by dtype, where it lies, read without onnx.

Source: onnx/onnx.proto3, `TensorProto` and its `DataType`; docs/ExternalData.md. Dtypes have the names that safetensors gives them.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hatch_mlbundle.contents.inspector import Extent, Inside, Inspector
from hatch_mlbundle.errors import ModelError

from .external import is_astray
from .wire import BYTES, DEEPEST, EXTERNAL_DATA, LARGE, MESSAGES, VARINT, Window, value_of

GRAPH = "(graph)"
"""The rest of a model: nodes, names, shapes, and what small nodes hold themselves."""

MOST_FIELDS = 1 << 20
"""Fields that are looked at before a file is given up: nodes are not looked into unless they are large."""

_IR_VERSION, _MODEL_GRAPH = 1, 7
_DIMS, _DATA_TYPE, _DATA_LOCATION = 1, 2, 14
_DATA = frozenset({4, 5, 6, 7, 9, 10, 11})
"""Fields of a TensorProto that hold its data: float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data."""
_EXTERNAL = 1
_LONGEST_TEXT = 4096
_MOST_AXES = 64
_LARGEST = 1 << 62

_DTYPES: Mapping[int, tuple[str, int]] = {
    1: ("F32", 32),
    2: ("U8", 8),
    3: ("I8", 8),
    4: ("U16", 16),
    5: ("I16", 16),
    6: ("I32", 32),
    7: ("I64", 64),
    8: ("STRING", 0),
    9: ("BOOL", 8),
    10: ("F16", 16),
    11: ("F64", 64),
    12: ("U32", 32),
    13: ("U64", 64),
    14: ("C64", 64),
    15: ("C128", 128),
    16: ("BF16", 16),
    17: ("F8_E4M3", 8),
    18: ("F8_E4M3FNUZ", 8),
    19: ("F8_E5M2", 8),
    20: ("F8_E5M2FNUZ", 8),
    21: ("U4", 4),
    22: ("I4", 4),
    23: ("F4", 4),
    24: ("F8_E8M0", 8),
    25: ("U2", 2),
    26: ("I2", 2),
}
"""Name and bits of an element, by the number of the data type."""


class OnnxInspector(Inspector):
    """Reads models by the encoding of their fields; data that lies in other files is told as theirs."""

    name: ClassVar[str] = "onnx"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[frozenset[str]] = frozenset({".onnx"})

    def inspect(self, path: Path) -> Iterable[Inside]:
        """Yield the tensors of the model and of each file with data of its tensors, nothing for what is no model; raises ModelError."""
        with path.open("rb", buffering=0) as stream:
            walk = _Walk(Window(stream, os.fstat(stream.fileno()).st_size))
            walk.message(0, walk.window.size, "model")
        if not walk.is_model:
            return
        yield Inside(view="tensors", extents=walk.inside, rest=GRAPH)
        for location, extents in walk.outside.items():
            yield Inside(view="tensors", extents=extents, location=location)


@dataclass(slots=True)
class _Tensor:
    """What a TensorProto says of its data: `held` are the places in the model's file, `entries` where in another one."""

    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    held: list[tuple[int, int]] = field(default_factory=list)
    is_external: bool = False
    entries: dict[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        return _DTYPES[self.data_type][0]

    def range(self) -> tuple[int, int]:
        """Return where external data begins and ends; raises ModelError."""
        bits = math.prod(self.dims) * _DTYPES[self.data_type][1]
        offset, length = (_number(self.entries.get(key)) for key in ("offset", "length"))
        start = offset or 0
        end = start + (-(-bits // 8) if length is None else length)
        if end > _LARGEST:
            raise ModelError("a tensor's data is larger than any real one")
        return start, end


class _Walk:
    """Gathers where the data of tensors lies: `inside` the model's file, and in others by their location."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.inside: list[Extent] = []
        self.outside: defaultdict[str, list[Extent]] = defaultdict(list)
        self._seen: set[int] = set()
        self._room = MOST_FIELDS

    @property
    def is_model(self) -> bool:
        """Whether the fields were those that a model must have."""
        return {_IR_VERSION, _MODEL_GRAPH} <= self._seen

    def message(self, start: int, end: int, kind: str, depth: int = 0) -> None:
        """Look at a message of this kind and at those within it that may hold tensors; raises ModelError."""
        if depth > DEEPEST:
            raise ModelError("its graphs are nested too deeply")
        if kind == "tensor":
            self._add(self._tensor(start, end))
            return
        for number, encoding, first, last in self._fields(start, end):
            if kind == "model":
                self._seen.add(number)
            inner = MESSAGES[kind].get(number)
            if inner and encoding == BYTES and (inner != "node" or last - first >= LARGE):
                self.message(first, last, inner, depth + 1)

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield number and encoding of each field, and where its value begins and ends."""
        while start < end:
            self._room -= 1
            if self._room < 0:
                raise ModelError(f"has more than {MOST_FIELDS} fields")
            tag, start = self.window.varint(start, end)
            first, start = value_of(self.window, start, end, tag & 7)
            yield tag >> 3, tag & 7, first, start

    def _tensor(self, start: int, end: int) -> _Tensor:
        tensor = _Tensor()
        for number, encoding, first, last in self._fields(start, end):
            if number in _DATA:
                tensor.held.append((first, last))
            elif number == _DIMS:
                tensor.dims += self._dims(encoding, first, last)
            elif number == EXTERNAL_DATA and encoding == BYTES:
                tensor.entries.update([self._entry(first, last)])
            elif encoding == VARINT and number in (_DATA_TYPE, _DATA_LOCATION):
                value = self.window.varint(first, last)[0]
                if number == _DATA_TYPE:
                    tensor.data_type = value
                else:
                    tensor.is_external = value == _EXTERNAL
        return tensor

    def _dims(self, encoding: int, first: int, last: int) -> Iterator[int]:
        """Yield dimensions: one, or several that are packed."""
        if last - first > 10 * _MOST_AXES or encoding not in (VARINT, BYTES):
            raise ModelError("a tensor has more dimensions than any real one")
        while first < last:
            value, first = self.window.varint(first, last)
            yield value

    def _entry(self, first: int, last: int) -> tuple[str, str]:
        texts = {1: "", 2: ""}
        for number, encoding, start, end in self._fields(first, last):
            if encoding != BYTES or end - start > _LONGEST_TEXT:
                raise ModelError("a tensor says in an unknown way where its data is")
            texts[number] = self.window.take(start, end).decode("utf-8", "replace")
        return texts[1], texts[2]

    def _add(self, tensor: _Tensor) -> None:
        if tensor.data_type not in _DTYPES or len(tensor.dims) > _MOST_AXES:
            raise ModelError(f"has a tensor of the data type {tensor.data_type}, or with {len(tensor.dims)} dimensions")
        if not tensor.is_external:
            self.inside += [Extent(start, end, tensor.dtype) for start, end in tensor.held]
            return
        location = tensor.entries.get("location", "")
        if is_astray(location):
            raise ModelError("has data that is at no path in the model's own folder")
        self.outside[location].append(Extent(*tensor.range(), tensor.dtype))


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ModelError(f"a tensor has the offset or length {text[:40]!r}")
    return int(text)
