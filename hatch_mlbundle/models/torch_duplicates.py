"""Tell whether PyTorch weights are also in the safetensors beside them, tensor by tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .safetensors import read_header
from .torch_checkpoint import open_checkpoint, state_dict
from .torch_safetensors import DTYPES, plan_safetensors, row_major
from .torch_views import BLOCK


def torch_digests(path: Path) -> list[list[Any]]:
    """Return of each tensor of a PyTorch file its names (several where tied), dtype as in safetensors, shape and SHA-256.

    Raises KeptError where it holds something else or safetensors could not hold it, ModelError where it cannot be believed.
    """
    with open_checkpoint(path) as source:
        plan = plan_safetensors(state_dict(source.value))
        rows = []
        for name, tensor in plan.tensors.items():
            digest = hashlib.sha256()
            for chunk in row_major(source, tensor):
                digest.update(chunk)
            names = [name, *(other for other, keeper in plan.tied.items() if keeper == name)]
            rows.append([names, DTYPES[tensor.dtype], list(tensor.shape), digest.hexdigest()])
        return rows


def safetensors_digests(path: Path) -> list[list[Any]]:
    """Return the same of each tensor of a safetensors file; raises ModelError where it cannot be believed."""
    rows = []
    with path.open("rb", buffering=0) as stream:
        for tensor in read_header(path).tensors:
            stream.seek(tensor.start)
            digest = hashlib.sha256()
            left = tensor.nbytes
            while left and (chunk := stream.read(min(left, BLOCK))):
                digest.update(chunk)
                left -= len(chunk)
            rows.append([[tensor.name], tensor.dtype, list(tensor.shape), digest.hexdigest()])
    return rows


def first_difference(ours: Iterable[list[Any]], theirs: Iterable[list[Any]]) -> str | None:
    """Return the name of a tensor among `ours` that is not among `theirs` with the same bytes, None where all are."""
    known: Mapping[str, list[Any]] = {names[0]: rest for names, *rest in theirs}
    for names, *rest in ours:
        there = [name for name in names if name in known]
        if not there or any(known[name] != rest for name in there):
            return str(names[0])
    return None
