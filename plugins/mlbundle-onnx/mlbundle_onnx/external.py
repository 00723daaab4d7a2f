"""Where a tensor's data lies: believed only where it fits the tensor, the file, and its neighbours.

onnx/docs/ExternalData.md: `location` is relative to the model's folder; `offset` and `length` are numbers of bytes, in decimal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from hatch_mlbundle.errors import ModelError

from .wire import ORIGINAL, Range

_KEYS = frozenset({"location", "offset", "length", "checksum"})
_LARGEST = 1 << 62
_MOST_AXES = 64
"""numpy's own limit (NPY_MAXDIMS); the product of very many dimensions would take for ever."""

_BITS: Mapping[str, int] = {
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}
"""Bits of an element by the name of its data type; strings have no fixed size, and are never external."""


def count_of(tensor: Any) -> int:
    """Return the number of elements; raises ModelError for dimensions that no tensor can have."""
    dims = tuple(tensor.dims)
    if len(dims) > _MOST_AXES:
        raise ModelError(f"tensor {named(tensor)} has {len(dims)} dimensions")
    if any(dim < 0 for dim in dims) or math.prod(dims) > _LARGEST:
        raise ModelError(f"tensor {named(tensor)} has the dimensions {list(dims)}")
    return math.prod(dims)


def size_of(tensor: Any) -> int:
    """Return the bytes that the tensor's data has to have; raises ModelError for dimensions or a data type that it cannot have."""
    bits = _BITS.get(type_of(tensor))
    if bits is None:
        raise ModelError(f"tensor {named(tensor)} has the data type {type_of(tensor)}, whose size is not known")
    return -(-count_of(tensor) * bits // 8)


def type_of(tensor: Any) -> str:
    """Return the name of a tensor's data type, such as FLOAT; its number where there is none."""
    from onnx import TensorProto

    values = TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(tensor.data_type)) if tensor.data_type in values else str(tensor.data_type)


def named(tensor: Any) -> str:
    """Return a tensor's name for a message: quoted, cut where it is absurdly long."""
    return _cut(tensor.name)


def is_external(tensor: Any) -> bool:
    """Say whether its data lies outside its message: in another file, or cut out of the model's (wire.py)."""
    from onnx import TensorProto

    return tensor.data_location == TensorProto.EXTERNAL or any(each.value == ORIGINAL for each in tensor.external_data)


def location_of(tensor: Any) -> str:
    """Return the location of external data, as written; raises ModelError where there is none, or two, or one that leads elsewhere."""
    location = _entries(tensor).get("location", "")
    if location != ORIGINAL and is_astray(location):
        raise ModelError(f"the data of tensor {named(tensor)} is at {_cut(location)}, which is no path in the model's own folder")
    return location


def is_astray(location: str) -> bool:
    """Say whether a location may lead out of the model's folder on any system."""
    unfit = not location or "\\" in location or ":" in location or "\0" in location or location.startswith("/")
    return unfit or bool({"", ".", ".."} & set(location.split("/")))


def range_of(tensor: Any, files: Mapping[str, Path]) -> Range:
    """Return where in which file the data lies, `files` by location; raises ModelError where it does not fit tensor or file."""
    entries = _entries(tensor)
    location = location_of(tensor)
    if location not in files:
        raise ModelError(f"the file {_cut(location)} with the data of tensor {named(tensor)} is missing")
    size = size_of(tensor)
    offset = _number(tensor, entries.get("offset", "0"))
    length = _number(tensor, entries["length"]) if "length" in entries else size
    if length != size:
        raise ModelError(f"tensor {named(tensor)} needs {size} bytes, but has {length}")
    if offset + length > files[location].stat().st_size:
        raise ModelError(f"the data of tensor {named(tensor)} ends beyond its file")
    return Range(files[location], offset, length)


def check_overlaps(ranges: Iterable[Range]) -> None:
    """Raise ModelError where two tensors share some bytes, but not the same ones."""
    distinct = sorted({(each.path, each.start, each.length) for each in ranges if each.length})
    for (path, start, length), (other, beginning, _) in pairwise(distinct):
        if path == other and beginning < start + length:
            raise ModelError(f"the data of two tensors overlaps at byte {beginning}")


def set_external(tensor: Any, location: str, offset: int, length: int) -> None:
    """Let the tensor's data be there; whatever data it held goes."""
    from onnx import TensorProto

    for field in ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data"):
        tensor.ClearField(field)
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    tensor.data_location = TensorProto.EXTERNAL


def _entries(tensor: Any) -> dict[str, str]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data) or not entries.keys() <= _KEYS:
        raise ModelError(f"tensor {named(tensor)} says in two ways, or unknown ones, where its data is")
    return entries


def _number(tensor: Any, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ModelError(f"tensor {named(tensor)} has the offset or length {text[:40]!r}")
    return int(text)


def _cut(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
