"""Prune single weights of a safetensors file, and write it again: dense, with zeros in it, or sparse, which alone takes fewer bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.models.casting import BLOCK, ErrorSum
from hatch_mlbundle.models.dtypes import SIZES, numpy_dtype
from hatch_mlbundle.models.packed import PackedTensor, plan_packed
from hatch_mlbundle.models.positioned import copy_range, opened, read_into, write_from
from hatch_mlbundle.models.safetensors import Header, Tensor, read_header

from .magnitude import FLOATS, Bits, Cut, Pruner, find_cut

CHUNK = 4 << 20
"""Bytes worked on at a time; a multiple of what fills whole bytes of a bitmap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What is pruned of a file: the cut of each tensor that is, and why others that were asked for are not."""

    header: Header
    cuts: Mapping[str, Cut]
    kept: Mapping[str, str] = field(default_factory=dict)


def plan_pruning(source: Path, names: frozenset[str], amount: float, *, sparse: bool) -> Pruning:
    """Look at the tensors named, and return how the smallest share of each is cut; raises ModelError.

    With `sparse`, one that would take no fewer bytes stays as it is: zeros alone save nothing.
    """
    header = read_header(source)
    cuts: dict[str, Cut] = {}
    kept: dict[str, str] = {}
    with opened(source, os.O_RDONLY) as descriptor:
        for tensor in header.tensors:
            if tensor.name not in names:
                continue
            if tensor.dtype not in FLOATS:
                kept[tensor.name] = f"{tensor.dtype} is not pruned"
                continue
            cut = find_cut(lambda each=tensor: _elements(descriptor, each), FLOATS[tensor.dtype], tensor.count, amount)  # type: ignore[misc]
            if cut is None:
                kept[tensor.name] = "not every number is finite"
            elif sparse and sparse_size(tensor, cut.left) >= tensor.nbytes:
                kept[tensor.name] = "no smaller when stored sparsely"
            else:
                cuts[tensor.name] = cut
    return Pruning(header=header, cuts=cuts, kept=kept)


def sparse_size(tensor: Tensor, left: int) -> int:
    """Return the bytes of a tensor of which `left` elements are stored, beside a bit for each."""
    return left * SIZES[tensor.dtype] + (tensor.count + 7) // 8


def write_dense(source: Path, target: Path, pruning: Pruning) -> None:
    """Write the file with zeros where weights were pruned: it has the size of the source."""
    with opened(source, os.O_RDONLY) as reading, opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writing:
        copy_range(reading, 0, pruning.header.data_start, writing, 0)
        for tensor in pruning.header.tensors:
            if tensor.name not in pruning.cuts:
                copy_range(reading, tensor.start, tensor.end, writing, tensor.start)
                continue
            at = tensor.start
            for bits, stay in _pruned(reading, tensor, pruning.cuts[tensor.name]):
                write_from(writing, np.where(stay, bits, bits.dtype.type(0)).view(np.uint8).data, at)
                at += bits.nbytes


def write_sparse(source: Path, target: Path, pruning: Pruning) -> None:
    """Write the packed file: what is pruned as a bitmap and the weights that are left, the rest as it was."""
    header = pruning.header
    layout = plan_packed([_packed(tensor, pruning.cuts.get(tensor.name)) for tensor in header.tensors], header.metadata)
    with opened(source, os.O_RDONLY) as reading, opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writing:
        write_from(writing, layout.header, 0)
        os.ftruncate(writing, layout.size)
        for tensor in header.tensors:
            parts = layout.parts[tensor.name]
            if tensor.name not in pruning.cuts:
                copy_range(reading, tensor.start, tensor.end, writing, parts["data"][0])
                continue
            data, bitmap = parts["data"][0], parts["bitmap"][0]
            for bits, stay in _pruned(reading, tensor, pruning.cuts[tensor.name]):
                packed, left = np.packbits(stay, bitorder="little"), bits[stay]
                write_from(writing, packed.data, bitmap)
                write_from(writing, left.view(np.uint8).data, data)
                bitmap, data = bitmap + packed.nbytes, data + left.nbytes
            if (data, bitmap) != (parts["data"][1], parts["bitmap"][1]):
                raise UnsoundResultError(f"tensor {tensor.name} changed while it was read")


def errors(source: Path, made: Path, pruning: Pruning) -> dict[str, ErrorSum]:
    """Return the error of each pruned tensor, read back from a plain file; raises UnsoundResultError where anything else differs."""
    there = {tensor.name: tensor for tensor in read_header(made).tensors}
    found: dict[str, ErrorSum] = {}
    with opened(source, os.O_RDONLY) as reading, opened(made, os.O_RDONLY) as again:
        for tensor in pruning.header.tensors:
            other = there.get(tensor.name)
            if other is None or (other.dtype, other.shape) != (tensor.dtype, tensor.shape):
                raise UnsoundResultError(f"tensor {tensor.name} is not there when it is read back")
            error = _compared(reading, tensor, again, other, pruning.cuts.get(tensor.name))
            if tensor.name in pruning.cuts:
                found[tensor.name] = error
    return found


def _compared(reading: int, tensor: Tensor, again: int, other: Tensor, cut: Cut | None) -> ErrorSum:
    """Return the error of a tensor; what stays must be the same, and no more may have gone than was cut."""
    total, left = ErrorSum(), 0
    for before, after in zip(_raw(reading, tensor), _raw(again, other), strict=True):
        if cut is None:
            sound = np.array_equal(before, after)
        else:
            dtype, integer = numpy_dtype(tensor.dtype), FLOATS[tensor.dtype].integer
            one, two = before.view(integer), after.view(integer)
            stays = two != 0
            left += int(np.count_nonzero(stays))
            sound = np.array_equal(one[stays], two[stays])
            total += _error(before.view(dtype), stays)
        if not sound:
            raise UnsoundResultError(f"tensor {tensor.name} is not what was written when it is read back")
    if cut is not None and left != cut.left:
        raise UnsoundResultError(f"tensor {tensor.name} has {left} weights left when it is read back, not {cut.left}")
    return total


def _error(values: npt.NDArray[Any], stays: npt.NDArray[np.bool_]) -> ErrorSum:
    """Return the error of some elements, a block that fits a core's own cache at a time."""
    signal = noise = 0.0
    for start in range(0, values.size, BLOCK):
        squares = np.square(values[start : start + BLOCK].astype(np.float64))
        signal += float(squares.sum())
        squares *= ~stays[start : start + BLOCK]
        noise += float(squares.sum())
    return ErrorSum(signal, noise)


def _packed(tensor: Tensor, cut: Cut | None) -> PackedTensor:
    if cut is None:
        return PackedTensor(tensor.name, tensor.dtype, tensor.shape, "raw", tensor.dtype)
    return PackedTensor(tensor.name, tensor.dtype, tensor.shape, "sparse", tensor.dtype, nnz=cut.left)


def _pruned(descriptor: int, tensor: Tensor, cut: Cut) -> Iterator[tuple[Bits, npt.NDArray[np.bool_]]]:
    pruner = Pruner(FLOATS[tensor.dtype], cut)
    for bits in _elements(descriptor, tensor):
        yield bits, pruner.apply(bits)


def _elements(descriptor: int, tensor: Tensor) -> Iterator[Bits]:
    for raw in _raw(descriptor, tensor):
        yield raw.view(FLOATS[tensor.dtype].integer)


def _raw(descriptor: int, tensor: Tensor) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield a tensor's bytes, a chunk at a time, each in a new array."""
    for at in range(tensor.start, tensor.end, CHUNK):
        raw = np.empty(min(CHUNK, tensor.end - at), np.uint8)
        read_into(descriptor, raw, at)
        yield raw
