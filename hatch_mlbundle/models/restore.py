"""Turn a packed file back into an ordinary safetensors file, by the same code that applications load it with."""

from __future__ import annotations

import os
from pathlib import Path

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.encodings import CHUNK
from hatch_mlbundle.models.positioned import opened, write_from
from hatch_mlbundle.models.safetensors import Tensor, layout
from hatch_mlbundle.runtime.weights import PackedFile


def restore(packed: Path, target: Path) -> None:
    """Write `target`, a new safetensors file of the tensors as they are loaded from a packed file, some rows at a time.

    Raises ModelError where the packed file cannot be read, OSError.
    """
    try:
        with PackedFile(packed) as file:
            head, header = layout([(name, file.dtype(name), file.shape(name)) for name in file.keys()], file.metadata())  # noqa: SIM118
            with opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
                write_from(descriptor, head, 0)
                for tensor in header.tensors:
                    _restore_tensor(file, tensor, descriptor)
    except ValueError as error:
        raise ModelError(str(error)) from error


def _restore_tensor(file: PackedFile, tensor: Tensor, descriptor: int) -> None:
    if not tensor.shape:
        write_from(descriptor, file.read(tensor.name).tobytes(), tensor.start)
    elif tensor.nbytes:
        rows = tensor.shape[0]
        size = tensor.nbytes // rows
        step = max(1, CHUNK // size)
        for first in range(0, rows, step):
            piece = file.read(tensor.name, slice(first, min(first + step, rows)))
            write_from(descriptor, piece.reshape(-1).view("u1").data, tensor.start + first * size)
