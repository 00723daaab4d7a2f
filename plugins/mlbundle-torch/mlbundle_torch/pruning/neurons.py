"""Take the weakest neurons out of the feed-forward layers of a model: its tensors become smaller, and config.json says so.

How strong a neuron is: the norm of the weights into it times that of the weights out of it. All layers lose as many, since config.json
has one width for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.models.casting import ErrorSum
from hatch_mlbundle.models.dtypes import numpy_dtype
from hatch_mlbundle.models.positioned import copy_range, opened, read_into, write_from
from hatch_mlbundle.models.safetensors import Header, Tensor, layout

from .feedforward import Layer
from .single import CHUNK

MULTIPLE = 8
"""Widths that are left are multiples of this, which matrix kernels are made for."""

_FLOATS = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True, slots=True)
class Selection:
    """What stays of a tensor: these indices along `axis`."""

    axis: int
    indices: npt.NDArray[np.int64]


def width_left(size: int, amount: float) -> int:
    """Return how many of `size` neurons are left when a share is taken out; raises KeptError where that is none, or all."""
    left = max(MULTIPLE, round(size * (1 - amount) / MULTIPLE) * MULTIPLE)
    if left >= size:
        raise KeptError(f"{amount:g} of {size} neurons is none, in steps of {MULTIPLE}")
    return left


def select(files: Mapping[Path, Header], layers: Sequence[Layer], left: int) -> dict[str, Selection]:
    """Return what stays of each tensor, by name, when each layer keeps its `left` strongest neurons; raises KeptError, ModelError.

    The model may be in several files. Of equally strong neurons the first stay.
    """
    selections: dict[str, Selection] = {}
    with ExitStack() as stack:
        descriptors = {path: stack.enter_context(opened(path, os.O_RDONLY)) for path in files}
        place = {tensor.name: descriptors[path] for path, header in files.items() for tensor in header.tensors}
        for layer in layers:
            strength = _strength(place, layer)
            if not np.isfinite(strength).all():
                raise KeptError(f"{layer.columns.name}: not every number of its layer is finite")
            indices = np.sort(np.argsort(-strength, kind="stable")[:left])
            selections |= {tensor.name: Selection(0, indices) for tensor in layer.rows}
            selections[layer.columns.name] = Selection(1, indices)
    return selections


def write_selected(source: Path, target: Path, header: Header, selections: Mapping[str, Selection]) -> dict[str, ErrorSum]:
    """Write the file with what stays of each tensor, and return the error of those that lost something.

    What is gone counts as zero: to the layers behind, it is.
    """
    head, made = layout(
        [(tensor.name, tensor.dtype, shape_left(tensor, selections.get(tensor.name))) for tensor in header.tensors], header.metadata
    )
    errors: dict[str, ErrorSum] = {}
    with opened(source, os.O_RDONLY) as reading, opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writing:
        write_from(writing, head, 0)
        for tensor, new in zip(header.tensors, made.tensors, strict=True):
            if tensor.name in selections:
                errors[tensor.name] = _write(reading, tensor, writing, new.start, selections[tensor.name])
            else:
                copy_range(reading, tensor.start, tensor.end, writing, new.start)
    return errors


def shape_left(tensor: Tensor, selection: Selection | None) -> tuple[int, ...]:
    """Return the shape of what stays of a tensor."""
    if selection is None:
        return tensor.shape
    return tuple(selection.indices.size if axis == selection.axis else size for axis, size in enumerate(tensor.shape))


def _write(reading: int, tensor: Tensor, writing: int, at: int, selection: Selection) -> ErrorSum:
    signal = noise = 0.0
    for first, values in _rows(reading, tensor):
        if selection.axis == 0:
            inside = (selection.indices >= first) & (selection.indices < first + len(values))
            left = values[selection.indices[inside] - first]
        else:
            left = np.ascontiguousarray(values[:, selection.indices])
        write_from(writing, left.reshape(-1).view(np.uint8).data, at)
        at += left.nbytes
        total, stays = (float(np.square(each.astype(np.float64)).sum()) for each in (values, left))
        signal, noise = signal + total, noise + max(0.0, total - stays)
    return ErrorSum(signal, noise)


def _strength(place: Mapping[str, int], layer: Layer) -> npt.NDArray[np.float64]:
    size = layer.columns.shape[1]
    into, out = np.zeros(size), np.zeros(size)
    for tensor in (*layer.rows, layer.columns):
        if tensor.dtype not in _FLOATS:
            raise KeptError(f"{tensor.name} is {tensor.dtype}, which is not pruned")
    for tensor in layer.rows:
        for first, values in _rows(place[tensor.name], tensor):
            squares = np.square(values.reshape(len(values), -1).astype(np.float64)).sum(axis=1)
            into[first : first + len(values)] += squares
    for _, values in _rows(place[layer.columns.name], layer.columns):
        out += np.square(values.astype(np.float64)).sum(axis=0)
    strength: npt.NDArray[np.float64] = np.sqrt(into) * np.sqrt(out)
    return strength


def _rows(descriptor: int, tensor: Tensor) -> Iterator[tuple[int, npt.NDArray[np.generic]]]:
    """Yield some rows of a tensor at a time, with the number of the first."""
    rows = tensor.shape[0]
    size = tensor.nbytes // rows
    step = max(1, CHUNK // size)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        raw = np.empty((last - first) * size, np.uint8)
        read_into(descriptor, raw, tensor.start + first * size)
        yield first, raw.view(numpy_dtype(tensor.dtype)).reshape(last - first, *tensor.shape[1:])
