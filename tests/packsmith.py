"""Packed files made from numpy arrays, and what is to come out of them, computed another way than the loader does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from hatch_mlbundle.models.packed import PackedTensor, plan_packed, signpost

TYPES: Mapping[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
}


@dataclass(frozen=True)
class Packed:
    """A tensor with the bytes of its parts, and the array that it stands for."""

    tensor: PackedTensor
    parts: Mapping[str, bytes] = field(default_factory=dict)
    expected: Any = None


def raw(name: str, array: Any, dtype: str = "F32") -> Packed:
    array = np.asarray(array, TYPES[dtype])
    return Packed(PackedTensor(name, dtype, array.shape, "raw", dtype), {"data": array.tobytes()}, array)


def cast(name: str, array: Any, dtype: str = "F32", stored: str = "F16") -> Packed:
    kept = np.asarray(array, TYPES[stored])
    return Packed(PackedTensor(name, dtype, kept.shape, "cast", stored), {"data": kept.tobytes()}, kept.astype(TYPES[dtype]))


def int8_row(name: str, array: Any, dtype: str = "F32") -> Packed:
    rows = np.asarray(array, np.float32).reshape(array.shape[0], -1)
    scale = np.maximum(np.abs(rows).max(axis=1, initial=0), np.float32(1e-9)) / np.float32(127)
    integers = np.rint(rows / scale[:, None]).astype(np.int8)
    expected = np.stack([row.astype(np.float32) * each for row, each in zip(integers, scale, strict=True)]) if rows.size else rows
    tensor = PackedTensor(name, dtype, array.shape, "int8-row", "I8")
    return Packed(tensor, {"data": integers.tobytes(), "scale": scale.tobytes()}, expected.reshape(array.shape).astype(TYPES[dtype]))


def int8_group(name: str, array: Any, group: int = 32, dtype: str = "F32", scale_dtype: str = "F32") -> Packed:
    rows = np.asarray(array, np.float32).reshape(array.shape[0], -1)
    pieces = range(0, rows.shape[1], group)
    scale = np.empty((rows.shape[0], len(pieces)), TYPES[scale_dtype])
    integers, expected = np.empty(rows.shape, np.int8), np.empty(rows.shape, np.float32)
    for number, first in enumerate(pieces):
        piece = rows[:, first : first + group]
        scale[:, number] = np.maximum(np.abs(piece).max(axis=1), np.float32(1e-4)) / np.float32(127)
        wide = scale[:, number, None].astype(np.float32)
        integers[:, first : first + group] = np.clip(np.rint(piece / wide), -127, 127)
        expected[:, first : first + group] = integers[:, first : first + group].astype(np.float32) * wide
    tensor = PackedTensor(name, dtype, array.shape, "int8-group", "I8", group=group, scale_dtype=scale_dtype)
    return Packed(tensor, {"data": integers.tobytes(), "scale": scale.tobytes()}, expected.reshape(array.shape).astype(TYPES[dtype]))


def sparse(name: str, array: Any, dtype: str = "F32", stored: str = "F32") -> Packed:
    kept = np.asarray(array, TYPES[stored])
    there = np.asarray(array) != 0
    bitmap = np.packbits(there.reshape(-1), bitorder="little").tobytes()
    tensor = PackedTensor(name, dtype, kept.shape, "sparse", stored, nnz=int(there.sum()))
    return Packed(tensor, {"data": kept[there].tobytes(), "bitmap": bitmap}, kept.astype(TYPES[dtype]))


def tied(name: str, to: Packed) -> Packed:
    it = to.tensor
    tensor = PackedTensor(name, it.dtype, it.shape, it.encoding, it.stored, it.group, it.scale_dtype, it.nnz, same_as=it.name)
    return Packed(tensor, {}, to.expected)


def write_packed(path: Path, *tensors: Packed, metadata: Mapping[str, str] | None = None) -> Path:
    """Write the packed file itself."""
    header, places, size = plan_packed([each.tensor for each in tensors], metadata or {})
    data = bytearray(size)
    data[: len(header)] = header
    for each in tensors:
        for part, content in each.parts.items():
            first, last = places[each.tensor.name][part]
            assert last - first == len(content)
            data[first:last] = content
    path.write_bytes(data)
    return path


def write_pair(path: Path, *tensors: Packed, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a signpost at `path` and the packed file beside it; return `path`."""
    path.write_bytes(signpost(path.name))
    write_packed(path.with_name(f"{path.name}.mlbundle"), *tensors, metadata=metadata)
    return path


def samples(seed: int = 1) -> list[Packed]:
    """Return a tensor in each way to store one, of shapes that fill no piece, no group and no byte of a bitmap."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(37, 45)).astype(np.float32)
    thin = np.where(random.random((13, 7)) < 0.3, random.normal(size=(13, 7)), 0)
    return [
        raw("norm", weights[0]),
        raw("ids", np.arange(5), "I64"),
        raw("half", weights[1], "BF16"),
        raw("scalar", np.float32(3.5)),
        raw("nothing", np.empty((0, 4))),
        cast("position", weights),
        cast("brain", weights, stored="BF16"),
        cast("double", weights, dtype="F64", stored="F32"),
        cast("narrow", weights, dtype="BF16", stored="F16"),
        int8_row("embedding", weights),
        int8_row("kernel", weights.reshape(37, 5, 3, 3), dtype="BF16"),
        int8_group("dense", weights),
        int8_group("fine", weights, group=7, dtype="F16", scale_dtype="F16"),
        sparse("pruned", thin),
        sparse("pruned half", thin, stored="F16"),
    ]
