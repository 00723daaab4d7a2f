"""Element types by the names that safetensors gives them (safetensors/src/tensor.rs, `Dtype`), and numpy's types for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hatch_mlbundle.runtime.opening import ML_DTYPES

if TYPE_CHECKING:  # headers are read without numpy, too
    import numpy as np

BITS: Mapping[str, int] = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
    "C64": 64,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "BOOL": 8,
}
"""Bits of an element, by dtype."""

SIZES: Mapping[str, int] = {name: bits // 8 for name, bits in BITS.items() if bits % 8 == 0}
"""Bytes of an element, by dtype, of those that fill whole bytes."""

_NUMPY: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "C64": "<c8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return numpy's type for a dtype, from ml_dtypes where numpy has none; raises KeyError where an element fills no whole bytes."""
    import numpy as np

    if name in _NUMPY:
        return np.dtype(_NUMPY[name])
    import ml_dtypes

    made: np.dtype[Any] = np.dtype(getattr(ml_dtypes, ML_DTYPES[name]))
    return made


def size_of(dtype: str, count: int) -> int:
    """Return the bytes that `count` elements take; raises ValueError where they do not fill whole bytes."""
    bits = BITS[dtype] * count
    if bits % 8:
        raise ValueError(f"{count} elements of {dtype} do not fill whole bytes")
    return bits // 8
