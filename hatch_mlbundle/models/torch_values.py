"""What the pickle in a PyTorch file is read into: inert values that stand for torch's objects and do nothing.

dict, list, str, int, float, bool, None and tuples of values stand for themselves. Source of the objects and their arguments:
torch/_utils.py (`_rebuild_tensor_v2`, `_rebuild_tensor_v3`, `_rebuild_parameter`) and torch/serialization.py (`persistent_id`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""One of the classes below, or a plain value."""

ITEM_SIZES: Mapping[str, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "complex128": 16,
    "complex64": 8,
    "complex32": 4,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
"""Bytes of an element, by the name that torch gives the dtype."""

STORAGE_DTYPES: Mapping[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""The dtype of a typed storage's elements, by the name of its class in `torch`."""


@dataclass(frozen=True, slots=True)
class Name:
    """A global that the pickle names and that is harmless: `module` and `name` as written."""

    module: str
    name: str


UNTYPED = Name("torch.storage", "UntypedStorage")
"""The class of storages that are bytes; the tensors over them say their dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A block of bytes in the file: `key` is its name below `data/`, `count` how many elements of its class it holds."""

    key: str
    type: Name
    location: str
    count: int

    @property
    def item_size(self) -> int:
        """Bytes of one element of its class."""
        return 1 if self.type == UNTYPED else ITEM_SIZES[STORAGE_DTYPES[self.type.name]]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return self.count * self.item_size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A view of a storage; `offset` and `stride` count elements of `dtype`. `metadata` holds torch's conj and neg bits."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool
    metadata: dict[str, Value] | None = None

    @property
    def count(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)

    @property
    def item_size(self) -> int:
        """Bytes of one element."""
        return ITEM_SIZES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, each counted once."""
        return self.count * self.item_size

    @property
    def extent(self) -> int:
        """Elements from its first to its last in the storage, both included; 0 where it has none."""
        if not self.count:
            return 0
        return 1 + sum((length - 1) * step for length, step in zip(self.shape, self.stride, strict=True))

    @property
    def byte_range(self) -> tuple[int, int]:
        """Where its bytes begin and end in the storage, with those of others between them."""
        start = self.offset * self.item_size
        return start, start + self.extent * self.item_size

    @property
    def place(self) -> tuple[str, str, int, tuple[int, ...], tuple[int, ...]]:
        """What two tensors have in common that are one tensor under two names."""
        return self.storage.key, self.dtype, self.offset, self.shape, self.stride


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameter:
    """A `torch.nn.Parameter`; `state` are the attributes that somebody set on it, None where it was written without."""

    tensor: Tensor
    requires_grad: bool
    state: Value = None
    has_state: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """A harmless object that is written by a call of its class: a `torch.Size`, a `torch.device`, bytes, a set, ..."""

    function: Name
    arguments: tuple[Value, ...]


class Ordered(dict[Value, Value]):
    """An OrderedDict; `attributes` are those of the object itself, such as the `_metadata` of a state dict.

    One that is `sealed` was taken for the hooks of a tensor, of which there are none, and has to stay empty.
    """

    __slots__ = ("attributes", "sealed")
    __hash__ = object.__hash__  # type: ignore[assignment]  # it is told apart by identity where it is referred to twice

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[Value, Value] | None = None
        self.sealed = False


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a contiguous tensor, as torch writes them."""
    strides: list[int] = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))
