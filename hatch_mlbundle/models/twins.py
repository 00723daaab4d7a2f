"""Find the tensors of a file that have the same bytes: tied weights, which safetensors can only hold twice."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from hatch_mlbundle.models.encodings import CHUNK
from hatch_mlbundle.models.positioned import opened, read_into
from hatch_mlbundle.models.safetensors import Header, Tensor

_SAMPLE = 4096


def find_twins(path: Path, header: Header) -> dict[str, str]:
    """Return, by the name of each tensor whose bytes, dtype and shape are those of one before it, the name of the first such.

    Most are told apart by a sample of their bytes; what a sample does not tell apart is compared byte for byte.
    """
    twins: dict[str, str] = {}
    firsts: defaultdict[tuple[object, ...], list[Tensor]] = defaultdict(list)
    with opened(path, os.O_RDONLY) as descriptor:
        for tensor in header.tensors:
            if tensor.nbytes:
                alike = firsts[tensor.dtype, tensor.shape, _sample(descriptor, tensor)]
                twin = next((each for each in alike if _are_equal(descriptor, each, tensor)), None)
                if twin:
                    twins[tensor.name] = twin.name
                else:
                    alike.append(tensor)
    return twins


def _sample(descriptor: int, tensor: Tensor) -> bytes:
    """Return some of the bytes from the middle: the first row of an embedding is often zero."""
    length = min(_SAMPLE, tensor.nbytes)
    buffer = np.empty(length, np.uint8)
    read_into(descriptor, buffer, tensor.start + (tensor.nbytes - length) // 2)
    return buffer.tobytes()


def _are_equal(descriptor: int, one: Tensor, other: Tensor) -> bool:
    size = min(CHUNK, one.nbytes)
    left, right = np.empty(size, np.uint8), np.empty(size, np.uint8)
    for at in range(0, one.nbytes, size):
        length = min(size, one.nbytes - at)
        read_into(descriptor, left[:length], one.start + at)
        read_into(descriptor, right[:length], other.start + at)
        if not np.array_equal(left[:length], right[:length]):
            return False
    return True
