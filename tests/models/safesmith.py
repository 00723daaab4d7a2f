"""Build safetensors files, sound and otherwise."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
TYPES = {name: getattr(ml_dtypes, name) if name == "bfloat16" else np.dtype(name) for name in NAMES}


def raw_file(path: Path, header: bytes, data: bytes = b"", *, length: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def entry(dtype: str, shape: Any, start: Any, end: Any, **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end], **more}


def file_with(path: Path, entries: Mapping[str, Any], data: bytes = b"") -> Path:
    return raw_file(path, json.dumps(entries).encode(), data)


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a sound file, its tensors one after another in this order."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        entries[name] = entry(NAMES[array.dtype.name], list(array.shape), len(data), len(data) + len(raw))
        data += raw
    text = json.dumps(entries).encode()
    return raw_file(path, text + b" " * (-len(text) % 8), data)


def read_tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read a sound file by the format's own words, not by the code under test."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    entries = json.loads(content[8 : 8 + length])
    entries.pop("__metadata__", None)
    types = {dtype: TYPES[name] for name, dtype in NAMES.items()}
    found = {}
    for name, each in entries.items():
        start, end = (8 + length + offset for offset in each["data_offsets"])
        found[name] = np.frombuffer(content[start:end], types[each["dtype"]]).reshape(each["shape"])
    return found


def weights(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray[Any, Any]:
    """Return normally distributed float32."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)
