"""What a PyTorch pickle may name, and what each name makes here: an inert value, never the object itself.

The names are a part of what `torch.load(weights_only=True)` allows (torch/_weights_only_unpickler.py, `_get_allowed_globals`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hatch_mlbundle.errors import ModelError

from .torch_values import ITEM_SIZES, STORAGE_DTYPES, UNTYPED, Call, Name, Ordered, Parameter, Storage, Tensor, Value

_MOST_DIMENSIONS = 64
_MOST = 2**63 - 1


class ForeignObjectError(ModelError):
    """A PyTorch file that holds, or is written by, something else than tensors and plain values; nothing of it was run."""


class FaultError(ValueError):
    """A pickle that contradicts itself."""


ORDERED = Name("collections", "OrderedDict")
PARAMETER = Name("torch._utils", "_rebuild_parameter")
PARAMETER_WITH_STATE = Name("torch._utils", "_rebuild_parameter_with_state")
TENSOR_2 = Name("torch._utils", "_rebuild_tensor_v2")
TENSOR_3 = Name("torch._utils", "_rebuild_tensor_v3")
"""What OrderedDicts, parameters and tensors are written by; the third kind of tensor is over a storage of bytes."""

_KEPT_CALLS = frozenset(
    {
        Name("collections", "Counter"),
        Name("torch", "Size"),
        Name("torch", "device"),
        Name("_codecs", "encode"),
        Name("builtins", "bytearray"),
        Name("builtins", "complex"),
        Name("builtins", "set"),
        Name("__builtin__", "bytearray"),
        Name("__builtin__", "complex"),
        Name("__builtin__", "set"),
        Name("torch.serialization", "_get_layout"),
        Name("torch._utils", "_rebuild_sparse_tensor"),
        Name("torch._utils", "_rebuild_meta_tensor_no_storage"),
    }
)
"""Calls that are written again as they were read."""


def find(module: str, name: str) -> Name:
    """Return the name where it is allowed; raises ForeignObjectError where it is not."""
    found = Name(module, name)
    if found in _MAKERS or found in _KEPT_CALLS or is_dtype(found) or is_storage_type(found):
        return found
    raise ForeignObjectError(f"holds other objects than tensors and plain values: {_shown(module, name)}")


def is_dtype(name: Name) -> bool:
    """Say whether the name is a torch dtype whose size is known here."""
    return name.module == "torch" and name.name in ITEM_SIZES


def is_storage_type(name: Name) -> bool:
    """Say whether the name is the class of a storage."""
    return name == UNTYPED or (name.module == "torch" and name.name in STORAGE_DTYPES)


def make(function: Value, arguments: Value) -> Value:
    """Return what a call of an allowed name stands for; raises FaultError where the arguments do not fit it."""
    if not isinstance(function, Name) or not (function in _MAKERS or function in _KEPT_CALLS):
        raise FaultError("it calls something that is not to be called")
    if not isinstance(arguments, tuple):
        raise FaultError(f"it calls {function.name} without a tuple of arguments")
    maker = _MAKERS.get(function)
    return maker(*arguments) if maker else Call(function=function, arguments=arguments)


def make_storage(reference: Value) -> Storage:
    """Return the storage that a persistent id refers to; raises FaultError where it is no such id."""
    if not isinstance(reference, tuple) or len(reference) != 5 or reference[0] != "storage":
        raise FaultError("it refers to something outside that is no storage")
    _, kind, key, location, count = reference
    if not (isinstance(kind, Name) and is_storage_type(kind) and isinstance(key, str) and isinstance(location, str) and _is_size(count)):
        raise FaultError("it refers to a storage that cannot be")
    return Storage(key=key, type=kind, location=location, count=count)


def _ordered(*arguments: Value) -> Ordered:
    if arguments:
        raise FaultError("it makes an OrderedDict out of something")
    return Ordered()


def _tensor_2(*arguments: Value) -> Tensor:
    if len(arguments) not in (6, 7):
        raise FaultError("a tensor has too few or too many arguments")
    storage, *rest = arguments
    if not isinstance(storage, Storage) or storage.type == UNTYPED:
        raise FaultError("a tensor has no storage that says its dtype")
    return _tensor(storage, STORAGE_DTYPES[storage.type.name], rest[:5], rest[5:])


def _tensor_3(*arguments: Value) -> Tensor:
    if len(arguments) not in (7, 8):
        raise FaultError("a tensor has too few or too many arguments")
    storage, *rest = arguments
    dtype = rest[5]
    if not isinstance(storage, Storage) or storage.type != UNTYPED or not isinstance(dtype, Name) or not is_dtype(dtype):
        raise FaultError("a tensor has no storage of bytes, or no dtype")
    return _tensor(storage, dtype.name, rest[:5], rest[6:])


def _tensor(storage: Storage, dtype: str, geometry: list[Value], metadata: list[Value]) -> Tensor:
    offset, shape, stride, requires_grad, hooks = geometry
    shape, stride = _sizes(shape), _sizes(stride)
    if shape is None or stride is None or len(shape) != len(stride) or not _is_size(offset) or not isinstance(requires_grad, bool):
        raise FaultError("a tensor has an offset, shape or stride that cannot be")
    _check_hooks(hooks)
    bits = metadata[0] if metadata else None
    if bits is not None and not (isinstance(bits, dict) and all(isinstance(each, (str, bool)) for pair in bits.items() for each in pair)):
        raise FaultError("a tensor has metadata that cannot be")
    bits = None if bits is None else dict(bits)  # the pickle may go on to change what it gave
    tensor = Tensor(storage=storage, dtype=dtype, offset=offset, shape=shape, stride=stride, requires_grad=requires_grad, metadata=bits)
    if tensor.count and tensor.byte_range[1] > storage.nbytes:
        raise FaultError(f"a tensor reaches {tensor.byte_range[1] - storage.nbytes} bytes past the end of storage {storage.key[:20]!r}")
    return tensor


def _parameter(*arguments: Value) -> Parameter:
    if len(arguments) not in (3, 4) or not isinstance(arguments[0], Tensor) or not isinstance(arguments[1], bool):
        raise FaultError("a parameter has arguments that do not fit")
    _check_hooks(arguments[2])
    state = arguments[3] if len(arguments) == 4 else None
    return Parameter(tensor=arguments[0], requires_grad=arguments[1], state=state, has_state=len(arguments) == 4)


def _check_hooks(hooks: Value) -> None:
    if hooks is None:
        return
    if not isinstance(hooks, Ordered) or hooks or hooks.attributes is not None:
        raise ForeignObjectError("holds other objects than tensors and plain values: hooks of a tensor")
    hooks.sealed = True


def _is_size(value: Value) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _sizes(value: Value) -> tuple[int, ...] | None:
    """Return the numbers of a shape or stride: a tuple, or the torch.Size of one."""
    if isinstance(value, Call) and value.function == Name("torch", "Size") and len(value.arguments) == 1:
        value = value.arguments[0]
    if not isinstance(value, tuple) or len(value) > _MOST_DIMENSIONS or not all(_is_size(each) for each in value):
        return None
    return value


def _shown(module: str, name: str) -> str:
    text = ascii(f"{module}.{name}")[1:-1]
    return text if len(text) <= 100 else f"{text[:97]}..."


_MAKERS: Mapping[Name, Callable[..., Any]] = {
    ORDERED: _ordered,
    PARAMETER: _parameter,
    PARAMETER_WITH_STATE: _parameter,
    TENSOR_2: _tensor_2,
    TENSOR_3: _tensor_3,
}
