"""Prove that a file stored in fewer bits is what it is said to be: read it back as a loader does, and measure the error again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.errors import ModelError, UnsoundResultError
from hatch_mlbundle.models.casting import compare
from hatch_mlbundle.models.dtypes import BITS, SIZES, numpy_dtype
from hatch_mlbundle.models.positioned import opened, read_into
from hatch_mlbundle.models.quantizing import Quantized, Stored
from hatch_mlbundle.models.safetensors import Header, Tensor, read_header
from hatch_mlbundle.models.streaming import Piece
from hatch_mlbundle.runtime.weights import PackedFile

SAMPLES = 32
"""Pieces read back, of 4 MB at most each: the first of the file, the last, and others evenly between."""

_TOLERANCE = 1e-4
"""The same sums, in other blocks."""

Reader: TypeAlias = Callable[[Stored, Piece], npt.NDArray[Any]]
"""Gives the elements of a piece as they are loaded, flat; bfloat16 as ml_dtypes has it."""


def check_quantized(source: Path, header: Header, target: Path, quantized: Quantized) -> None:
    """Raise UnsoundResultError where the file at `target` has not the names, shapes and types of the original, or another error."""
    reading = _read_packed(target, header) if quantized.packed else _read_plain(target, header, quantized)
    with reading as reader, opened(source, os.O_RDONLY) as original:
        for stored, piece in _sample(quantized):
            _check_piece(stored, piece, original, reader)


def _sample(quantized: Quantized) -> Sequence[tuple[Stored, Piece]]:
    pieces = [(each, piece) for each in quantized.tensors for piece in each.pieces if _is_checkable(each, piece, packed=quantized.packed)]
    if len(pieces) <= SAMPLES:
        return pieces
    return [pieces[round(number * (len(pieces) - 1) / (SAMPLES - 1))] for number in range(SAMPLES)]


def _is_checkable(stored: Stored, piece: Piece, *, packed: bool) -> bool:
    """Say whether a piece can be read back alone: from a packed file only whole rows are, and not all types have whole bytes."""
    tensor = stored.tensor
    if BITS[tensor.dtype] % 8:
        return False
    if not packed:
        return True
    row = tensor.nbytes // tensor.shape[0] if tensor.shape else tensor.nbytes
    return piece.cut.start % row == 0 and piece.cut.end % row == 0


def _check_piece(stored: Stored, piece: Piece, original: int, reader: Reader) -> None:
    tensor = stored.tensor
    raw = np.empty(piece.cut.end - piece.cut.start, np.uint8)
    read_into(original, raw, tensor.start + piece.cut.start)
    loaded = reader(stored, piece)
    if piece.error is None:
        sound = np.array_equal(loaded.view(np.uint8), raw)
    else:
        error = compare(raw.view(numpy_dtype(tensor.dtype)).astype(np.float32), loaded.astype(np.float32))
        sound = all(math.isclose(getattr(error, sum_), getattr(piece.error, sum_), rel_tol=_TOLERANCE) for sum_ in ("signal", "noise"))
    if not sound:
        raise UnsoundResultError(f"tensor {tensor.name} was not written as it was measured")


@contextmanager
def _read_plain(target: Path, header: Header, quantized: Quantized) -> Iterator[Reader]:
    try:
        made = read_header(target)
    except ModelError as error:
        raise UnsoundResultError(f"the result cannot be read back: {error}") from error
    found = {each.name: each for each in made.tensors}
    wanted = {each.tensor.name: (each.after, each.tensor.shape) for each in quantized.tensors}
    if {name: (each.dtype, each.shape) for name, each in found.items()} != wanted or made.metadata != header.metadata:
        raise UnsoundResultError("the result has other tensors or metadata than the original")
    with opened(target, os.O_RDONLY) as descriptor:
        yield lambda stored, piece: _elements(descriptor, found[stored.tensor.name], stored, piece)


def _elements(descriptor: int, made: Tensor, stored: Stored, piece: Piece) -> npt.NDArray[Any]:
    before, after = SIZES[stored.tensor.dtype], SIZES[made.dtype]
    start, end = (offset // before * after for offset in (piece.cut.start, piece.cut.end))
    raw = np.empty(end - start, np.uint8)
    read_into(descriptor, raw, made.start + start)
    return raw.view(numpy_dtype(made.dtype))


@contextmanager
def _read_packed(target: Path, header: Header) -> Iterator[Reader]:
    try:
        file = PackedFile(target)
    except ValueError as error:
        raise UnsoundResultError(f"the result cannot be read back: {error}") from error
    with file:
        wanted = {each.name: (each.dtype, each.shape) for each in header.tensors}
        if {name: (file.dtype(name), file.shape(name)) for name in file.keys()} != wanted or file.metadata() != header.metadata:  # noqa: SIM118
            raise UnsoundResultError("the result has other tensors or metadata than the original")
        yield lambda stored, piece: _rows(file, stored.tensor, piece)


def _rows(file: PackedFile, tensor: Tensor, piece: Piece) -> npt.NDArray[Any]:
    if not tensor.shape:
        loaded = file.read(tensor.name)
    else:
        row = tensor.nbytes // tensor.shape[0]
        loaded = file.read(tensor.name, slice(piece.cut.start // row, piece.cut.end // row))
    flat: npt.NDArray[Any] = loaded.reshape(-1).view(np.uint8).view(numpy_dtype(tensor.dtype))
    return flat
