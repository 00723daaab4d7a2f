"""The safetensors format: read a header without believing a word of it, and lay out a new file.

Source: https://github.com/huggingface/safetensors, "Format", and `Metadata::validate` in safetensors/src/tensor.rs. A file is the
header's length (8 bytes, little-endian), the header (JSON), and the tensors' bytes, one after another. Stricter than the library:
names may not come twice, hold control characters or a `..`, and an entry may have no keys but the three. As the library does, this
takes data that is not aligned to its elements: it is read by copying.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.dtypes import BITS, size_of

LONGEST_HEADER = 100_000_000
"""Bytes of the longest header that the library reads."""

_METADATA = "__metadata__"
_KEYS = {"dtype", "shape", "data_offsets"}
_MOST = 2**63 - 1
_MOST_DIMENSIONS = 64
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor: `start` and `end` are the offsets of its bytes in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return self.end - self.start

    @property
    def count(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file holds: the tensors in the order of their offsets; data begins at `data_start`, the whole file has `size` bytes."""

    tensors: tuple[Tensor, ...]
    data_start: int
    size: int
    metadata: Mapping[str, str] = field(default_factory=dict)


class _FaultError(ValueError):
    pass


def read_header(path: Path) -> Header:
    """Return the header of a safetensors file.

    Raises ModelError where anything about it cannot be believed, OSError where it cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        return read_header_of(stream, os.fstat(stream.fileno()).st_size, path)


def read_header_of(stream: BinaryIO, size: int, path: Path) -> Header:
    """Return the header of a file of `size` bytes, of which `stream` gives the first ones; raises ModelError, OSError."""
    try:
        return _read(stream, size)
    except _FaultError as fault:
        raise ModelError(f"{path}: is no sound safetensors file: {fault}") from fault


def layout(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str], least: int = 0) -> tuple[bytes, Header]:
    """Return the first bytes of a file of these tensors (name, dtype, shape), the length included, and its header.

    The tensors lie in the given order without gaps. The header is padded with blanks to a multiple of 8 bytes, and so that data
    begins no sooner than at `least`. Raises ValueError for a shape whose elements fill no whole bytes.
    """
    entries: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    placed = []
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + size_of(dtype, math.prod(shape))
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        placed.append((name, dtype, shape, offset, end))
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    length = max(len(text), least - 8)
    length += -length % 8
    start = 8 + length
    made = tuple(Tensor(name=n, dtype=d, shape=tuple(s), start=start + a, end=start + b) for n, d, s, a, b in placed)
    header = Header(tensors=made, metadata=dict(metadata), data_start=start, size=start + offset)
    return struct.pack("<Q", length) + text.ljust(length), header


def _read(stream: BinaryIO, size: int) -> Header:
    prefix = stream.read(8)
    if len(prefix) < 8:
        raise _FaultError(f"it has {size} bytes, too few for the length of a header")
    (length,) = struct.unpack("<Q", prefix)
    if length > LONGEST_HEADER:
        raise _FaultError(f"its header claims {length} bytes, more than the {LONGEST_HEADER} that are allowed")
    if length > size - 8:
        raise _FaultError(f"its header claims {length} bytes, but {size - 8} follow; it may have been cut off")
    entries = _parse(_read_exactly(stream, length))
    metadata = _metadata(entries.pop(_METADATA, {}))
    start = 8 + length
    tensors = sorted((_tensor(name, entry, start) for name, entry in entries.items()), key=lambda each: (each.start, each.end))
    _check_cover(tensors, start, size)
    return Header(tensors=tuple(tensors), metadata=metadata, data_start=start, size=size)


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    """One `read` of an unbuffered file may give less than it was asked for."""
    parts = []
    while length:
        part = stream.read(length)
        if not part:
            raise _FaultError("it ends within its header")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _parse(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _FaultError("its header is no JSON object")
    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
    except _FaultError:
        raise
    except RecursionError:
        raise _FaultError("its header is nested too deeply") from None
    except ValueError as error:
        raise _FaultError(f"its header is no JSON: {_show(str(error))}") from None
    if not isinstance(parsed, dict):
        raise _FaultError("its header is no JSON object")
    return parsed


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _FaultError(f"the name {_show(twice)} comes twice in its header")
    return found


def _refuse_constant(name: str) -> Any:
    raise _FaultError(f"{name} stands in its header, which is no JSON")


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _FaultError("its metadata maps other things than strings to strings")
    if any(_has_surrogate(each) for pair in value.items() for each in pair):
        raise _FaultError("its metadata holds half a character")
    return value


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text)


def _tensor(name: str, entry: Any, start: int) -> Tensor:
    shown = _show(name)
    if _CONTROL.search(name):
        raise _FaultError(f"the name {shown} holds control characters")
    if ".." in re.split(r"[/\\]", name):
        raise _FaultError(f"the name {shown} is a path out of a folder")
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        raise _FaultError(f"tensor {shown} has no dtype, shape and data_offsets alone")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise _FaultError(f"tensor {shown} has the unknown dtype {_show(dtype)}")
    shape = _whole_numbers(entry["shape"])
    if shape is None or len(shape) > _MOST_DIMENSIONS:
        raise _FaultError(f"tensor {shown} has no shape of at most {_MOST_DIMENSIONS} whole numbers")
    offsets = _whole_numbers(entry["data_offsets"])
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _FaultError(f"tensor {shown} has no offsets of a beginning and an end")
    _check_size(shown, dtype, shape, offsets[1] - offsets[0])
    return Tensor(name=name, dtype=dtype, shape=shape, start=start + offsets[0], end=start + offsets[1])


def _whole_numbers(value: Any) -> tuple[int, ...] | None:
    """Return a list's numbers where all are whole, not negative, and fit 63 bits."""
    if not isinstance(value, list) or not all(type(each) is int and 0 <= each <= _MOST for each in value):
        return None
    return tuple(value)


def _check_size(shown: str, dtype: str, shape: tuple[int, ...], size: int) -> None:
    if math.prod(each for each in shape if each) * BITS[dtype] > _MOST:
        raise _FaultError(f"tensor {shown} has a shape whose size overflows")
    bits = math.prod(shape) * BITS[dtype]
    if bits != 8 * size:
        raise _FaultError(f"tensor {shown} has {size} bytes, but its shape and dtype {dtype} need {bits / 8:g}")


def _check_cover(tensors: list[Tensor], start: int, size: int) -> None:
    """Every byte of the data belongs to one tensor and no more (so nothing hides in the file)."""
    at = start
    for tensor in tensors:
        if tensor.end > size:
            raise _FaultError(
                f"tensor {_show(tensor.name)} ends {tensor.end - size} bytes behind the end of the file; it may have been cut off"
            )
        if tensor.start != at:
            what = "a hole before" if tensor.start > at else "an overlap at"
            raise _FaultError(f"its data has {what} tensor {_show(tensor.name)}")
        at = tensor.end
    if at != size:
        raise _FaultError(f"{size - at} bytes at its end belong to no tensor")


def _show(value: Any) -> str:
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
