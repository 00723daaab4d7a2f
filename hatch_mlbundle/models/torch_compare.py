"""Prove that two PyTorch files hold the same: the same objects in the same order, every tensor with the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from hatch_mlbundle.errors import UnsoundResultError

from .torch_checkpoint import Checkpoint, tensors_in
from .torch_pickle import children
from .torch_values import Ordered, Parameter, Tensor, Value
from .torch_views import Chunk, Read, ranged_chunks, row_major_chunks


def check_same(source: Checkpoint, value: Value, target: Checkpoint) -> None:
    """Raise UnsoundResultError unless `target` holds what `value` of `source` is, tensor by tensor and byte by byte."""
    _check_same_form(value, target.value, set())
    ours, theirs = tensors_in([value]), tensors_in([target.value])
    if _sharing(ours) != _sharing(theirs):
        raise UnsoundResultError("its tensors do not share storages as they did")
    compared = set()
    for before, after in zip(ours, theirs, strict=True):
        if before.place not in compared:
            compared.add(before.place)
            _check_same_bytes(source, before, target, after)


def _check_same_form(before: Value, after: Value, done: set[int]) -> None:
    if type(before) is not type(after) or _own(before) != _own(after):
        raise UnsoundResultError("its objects are not those that there were")
    if id(before) in done:
        return
    done.add(id(before))
    ours, theirs = children(before), children(after)
    if len(ours) != len(theirs):
        raise UnsoundResultError("its objects are not those that there were")
    for one, other in zip(ours, theirs, strict=True):
        _check_same_form(one, other, done)


def _own(value: Value) -> Value:
    """Return what a value is by itself, without the values in it; numbers by their digits, so that a NaN equals itself."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.requires_grad, value.metadata, value.storage.type, value.storage.location
    if isinstance(value, Parameter):
        return value.requires_grad, value.has_state
    if isinstance(value, Ordered):
        return value.attributes is None
    if isinstance(value, float):
        return value.hex()
    return getattr(value, "function", None) if not isinstance(value, (str, int)) else value


def _sharing(tensors: list[Tensor]) -> list[int]:
    """Return for each tensor the number of its storage, counted as they come."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(tensor.storage.key, len(numbers)) for tensor in tensors]


def _check_same_bytes(source: Checkpoint, before: Tensor, target: Checkpoint, after: Tensor) -> None:
    pieces = zip_longest(_pieces(source, before, after), _pieces(target, after, before))
    if any(one != other for one, other in pieces):
        raise UnsoundResultError("a tensor does not have the bytes that it had")


def _pieces(owner: Checkpoint, tensor: Tensor, other: Tensor) -> Iterator[Chunk]:
    """Yield a tensor's bytes: as they lie where both lie alike, else in row-major order, in pieces of one size."""
    read = _reader(owner, tensor)
    if tensor.stride == other.stride:
        yield from ranged_chunks(*tensor.byte_range, read)
    else:
        yield from _even(row_major_chunks(tensor, read))


def _reader(owner: Checkpoint, tensor: Tensor) -> Read:
    return lambda offset, size: owner.read(tensor, offset, size)


def _even(chunks: Iterator[Chunk], size: int = 1 << 20) -> Iterator[Chunk]:
    """Yield the same bytes in pieces of `size`, the last of which may be shorter."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
