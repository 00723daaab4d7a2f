"""Lay out a packed file of weights (the format: runtime/container.py), and the signpost that stays under the old name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from hatch_mlbundle.runtime.container import PREFIX, VERSION, Entry, aligned
from hatch_mlbundle.runtime.signpost import MAGIC, PACKED, SIGN

Ranges: TypeAlias = Mapping[str, tuple[int, int]]
"""Where the parts of a tensor lie in the file: bytes from its start, first and behind the last."""

_SPACE = b" "
_PLAIN = ("raw", "cast", "sparse")


@dataclass(frozen=True, slots=True)
class PackedTensor:
    """A tensor to be packed: `dtype` and `shape` are what it is loaded as, `encoding` and `stored` how it lies in the file.

    `group` is for int8-group; `nnz`, for sparse, the number of elements that are stored. With `same_as`, the name of a tensor
    before it, it has that one's parts: they are tied.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    stored: str
    group: int = 0
    scale_dtype: str = "F32"
    nnz: int | None = None
    same_as: str | None = None


class PackedLayout(NamedTuple):
    """A packed file to be written: `header` is what it begins with, `parts` say where each tensor's go, `size` is the whole's in bytes.

    What is between the parts is zero.
    """

    header: bytes
    parts: Mapping[str, Ranges]
    size: int


def plan_packed(tensors: Iterable[PackedTensor], metadata: Mapping[str, str]) -> PackedLayout:
    """Return the layout of a packed file; raises ValueError for tensors that it cannot hold."""
    rows: dict[str, dict[str, Any]] = {}
    end = 0
    for tensor in tensors:
        if tensor.name in rows:
            raise ValueError(f"two tensors are called {tensor.name}")
        ranges, end = _ranges(tensor, rows, end)
        rows[tensor.name] = _row(tensor, ranges)
    text = json.dumps({"metadata": dict(metadata), "tensors": rows}, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    start = aligned(PREFIX.size + len(text))
    header = PREFIX.pack(MAGIC, VERSION, 0, start - PREFIX.size) + text.ljust(start - PREFIX.size, _SPACE)
    parts = {name: {part: (start + first, start + last) for part, (first, last) in row["parts"].items()} for name, row in rows.items()}
    return PackedLayout(header=header, parts=parts, size=start + end)


def signpost(name: str) -> bytes:
    """Return what stays under the name of a file whose weights are now in the packed file beside it.

    As a safetensors header its first bytes are an absurd length: a loader that does not know it raises instead of loading garbage.
    """
    advice = "call hatch_mlbundle.runtime.install() before they are loaded"
    return SIGN + f"{name}: the weights are in {name}{PACKED}, packed by hatch-mlbundle; {advice}\n".encode()


def _ranges(tensor: PackedTensor, rows: Mapping[str, dict[str, Any]], end: int) -> tuple[Ranges, int]:
    """Return where the tensor's parts go, from the end of the header on, and the new end of all parts."""
    sizes = _entry(tensor).sizes(tensor.nnz or 0)
    if tensor.same_as is not None:
        ranges: Ranges = rows[tensor.same_as]["parts"] if tensor.same_as in rows else {}
        if {part: last - first for part, (first, last) in ranges.items()} != sizes:
            raise ValueError(f"{tensor.name} cannot be tied to {tensor.same_as}, which is stored otherwise or not before it")
        return ranges, end
    found = {}
    for part, size in sizes.items():
        first = aligned(end)
        end = first + size
        found[part] = (first, end)
    return found, end


def _entry(tensor: PackedTensor) -> Entry:
    if (tensor.nnz is not None) != (tensor.encoding == "sparse"):
        raise ValueError(f"{tensor.name}: `nnz` is for sparse tensors, and they need it")
    try:
        return Entry(tensor.dtype, tensor.shape, tensor.encoding, tensor.stored, tensor.group, tensor.scale_dtype)
    except ValueError as error:
        raise ValueError(f"{tensor.name} cannot be packed so: {error}") from error


def _row(tensor: PackedTensor, ranges: Ranges) -> dict[str, Any]:
    row: dict[str, Any] = {"dtype": tensor.dtype, "shape": tensor.shape, "encoding": tensor.encoding, "stored": tensor.stored}
    if tensor.encoding == "int8-group":
        row["group"] = tensor.group
    if tensor.encoding not in _PLAIN:
        row["scale_dtype"] = tensor.scale_dtype
    return {**row, "parts": ranges}
