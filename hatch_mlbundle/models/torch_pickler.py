"""Write inert values (torch_values.py) as the pickle that torch.save would write of the objects they stand for: protocol 2.

Source: Lib/pickletools.py of CPython for the instructions, torch/_tensor.py (`_reduce_ex_internal`) for what is called with what.
"""

from __future__ import annotations

import struct
from typing import Any

from .torch_rebuild import ORDERED, PARAMETER, PARAMETER_WITH_STATE, TENSOR_2, TENSOR_3
from .torch_values import UNTYPED, Call, Name, Ordered, Parameter, Storage, Tensor, Value

_STOP = b"."
_EMPTY_TUPLE = b")"


class _Pickler:
    """The instructions so far in `parts`; `memo` says where each thing is that was written before, strings and names by value."""

    def __init__(self) -> None:
        self.parts = [b"\x80\x02"]
        self.memo: dict[Any, int] = {}

    def write(self, value: Value) -> None:
        if value is None or isinstance(value, bool):
            self.parts.append({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, int):
            self.parts.append(_integer(value))
        elif isinstance(value, float):
            self.parts.append(b"G" + struct.pack(">d", value))
        elif value == () and isinstance(value, tuple):
            self.parts.append(_EMPTY_TUPLE)
        else:
            self.write_shared(value)

    def write_shared(self, value: Value) -> None:
        """Write what may be referred to again, or the reference where it was written before."""
        key = value if isinstance(value, (str, Name)) else id(value)
        if key in self.memo:
            self.parts.append(_indexed(b"h", b"j", self.memo[key]))
        elif type(value) in (dict, Ordered, list):
            self.write_container(value, key)
        else:
            self.write_object(value)
            self.remember(key)

    def write_object(self, value: Value) -> None:
        if isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
            self.parts.append(b"X" + struct.pack("<I", len(data)) + data)
        elif isinstance(value, Name):
            self.parts.append(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, tuple):
            self.write_tuple(value)
        elif isinstance(value, Tensor):
            self.write_tensor(value)
        elif isinstance(value, Parameter):
            self.write_parameter(value)
        elif isinstance(value, Call):
            self.write(value.function)
            self.write(value.arguments)
            self.parts.append(b"R")
        else:
            raise TypeError(f"no value of a PyTorch file: {type(value).__name__}")

    def write_container(self, value: Value, key: Any) -> None:
        """Remember a container before it is filled, as pickle does."""
        if isinstance(value, Ordered):
            self.write_empty_ordered()
        else:
            self.parts.append(b"]" if isinstance(value, list) else b"}")
        self.remember(key)
        if value:
            self.parts.append(b"(")
            for each in value if isinstance(value, list) else (each for pair in value.items() for each in pair):
                self.write(each)
            self.parts.append(b"e" if isinstance(value, list) else b"u")
        if isinstance(value, Ordered) and value.attributes is not None:
            self.write(value.attributes)
            self.parts.append(b"b")

    def write_tuple(self, value: tuple[Value, ...]) -> None:
        if len(value) > 3:
            self.parts.append(b"(")
        for each in value:
            self.write(each)
        self.parts.append((_EMPTY_TUPLE, b"\x85", b"\x86", b"\x87")[len(value)] if len(value) <= 3 else b"t")

    def write_tensor(self, value: Tensor) -> None:
        untyped = value.storage.type == UNTYPED
        self.write(TENSOR_3 if untyped else TENSOR_2)
        self.parts.append(b"(")
        self.write_storage(value.storage)
        for each in (value.offset, value.shape, value.stride, value.requires_grad):
            self.write(each)
        self.write_empty_ordered()
        if untyped:
            self.write(Name("torch", value.dtype))
        if value.metadata is not None:
            self.write(value.metadata)
        self.parts.append(b"tR")

    def write_parameter(self, value: Parameter) -> None:
        self.write(PARAMETER_WITH_STATE if value.has_state else PARAMETER)
        self.parts.append(b"(")
        self.write(value.tensor)
        self.write(value.requires_grad)
        self.write_empty_ordered()
        if value.has_state:
            self.write(value.state)
        self.parts.append(b"tR")

    def write_empty_ordered(self) -> None:
        self.write(ORDERED)
        self.parts.append(_EMPTY_TUPLE + b"R")

    def write_storage(self, value: Storage) -> None:
        self.write_tuple(("storage", value.type, value.key, value.location, value.count))
        self.parts.append(b"Q")

    def remember(self, key: Any) -> None:
        index = self.memo[key] = len(self.memo)
        self.parts.append(_indexed(b"q", b"r", index))


def write_pickle(value: Value) -> bytes:
    """Return the pickle of a value: equal values give equal bytes, and what was one object stays one."""
    pickler = _Pickler()
    pickler.write(value)
    return b"".join(pickler.parts) + _STOP


def _indexed(short: bytes, long: bytes, index: int) -> bytes:
    return short + bytes([index]) if index < 256 else long + struct.pack("<I", index)


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if 0 <= value < 65536:
        return b"M" + struct.pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
