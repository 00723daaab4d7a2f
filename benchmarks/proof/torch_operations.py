"""Run by cpu_code.py: digests of what PyTorch's operations give for the samples of its own tests (op_db), as JSON.

python torch_operations.py [EVERY]     # each EVERYth operation only
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

_UNINITIALIZED = frozenset(
    {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_", "resize_as_"}
)
_SAMPLES = 12


def main() -> None:
    """Write the digest of each operation in each of its types, by their names."""
    warnings.simplefilter("ignore")
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    found = {}
    for operation in op_db[::every]:
        if operation.name not in _UNINITIALIZED:
            for dtype in sorted(operation.dtypes, key=str):
                found[f"{operation.name} {operation.variant_test_name} {dtype}"] = digest(operation, dtype)
    json.dump(found, sys.stdout)


def digest(operation: Any, dtype: torch.dtype) -> str:
    """Return the SHA-256 of all results, those of the backward pass among them; of an error, its type counts."""
    summed = hashlib.sha256()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    backward = dtype.is_floating_point and dtype in operation.backward_dtypes
    try:
        for number, sample in enumerate(itertools.islice(operation.sample_inputs("cpu", dtype, requires_grad=backward), _SAMPLES)):
            torch.manual_seed(number)
            given = [sample.input, *sample.args, *sample.kwargs.values()]
            result = operation(sample.input, *sample.args, **sample.kwargs)
            feed(summed, result)
            if backward:
                feed(summed, gradients(result, given))
    except Exception as error:
        summed.update(type(error).__name__.encode())
    return summed.hexdigest()


def gradients(result: Any, given: list[Any]) -> list[torch.Tensor]:
    """Return what the backward pass gives for all tensors of the sample."""
    sums = [value.abs().sum() for value in tensors(result) if value.requires_grad]
    if sums:
        torch.autograd.backward(sums)
    return [value.grad for value in tensors(given) if value.grad is not None]


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from tensors(each)


def feed(summed: Any, value: Any) -> None:
    """Add shape, type and bytes of each tensor."""
    for tensor in tensors(value):
        dense = (tensor.to_dense() if tensor.layout is not torch.strided else tensor).detach().resolve_conj().resolve_neg().contiguous()
        summed.update(repr((tuple(dense.shape), dense.dtype)).encode())
        summed.update(dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b"")


main()
