"""Run in a process of its own: every operation of the sweep on the installation that PYTHONPATH names, one line of JSON for each.

python sweep.py [--device cpu] [--only TEXT] [--first N]
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import elementwise
import layers
import libraries
import torch
from inputs import Inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", default="", help="operations whose names have this in them")
    parser.add_argument("--first", type=int, help="at most so many")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.set_num_threads(1)  # sums on the processor do not depend on it then, and many small operations wait for nobody
    make = Inputs(options.device)
    every = chain(elementwise.cases(make), layers.cases(make), libraries.cases(make))
    for name, compute in islice((case for case in every if options.only in case[0]), options.first):
        make.restart()
        print(json.dumps({"name": name, **_outcome(compute)}), flush=True)
    print(json.dumps({"name": "strays", "paths": list(_strays(os.path.dirname(os.path.dirname(torch.__file__))))}))  # noqa: PTH120
    sys.stdout.flush()
    os._exit(0)  # NCCL warns of a group that is still there


def _outcome(compute: Any) -> dict[str, str]:
    try:
        digest = hashlib.sha256()
        for tensor in _tensors(compute()):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
        return {"digest": digest.hexdigest()}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}


def _tensors(result: Any) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result.detach()
    elif isinstance(result, (list, tuple)):
        for each in result:
            yield from _tensors(each)
    else:
        yield torch.tensor(result)


def _bytes(tensor: torch.Tensor) -> bytes:
    local = tensor.resolve_conj().resolve_neg().to_dense().cpu().contiguous()
    return ctypes.string_at(local.data_ptr(), local.nbytes) if local.numel() else b""  # numpy need not be there


def _strays(home: str) -> Iterator[str]:
    """Yield the libraries of torch and CUDA that this process has from elsewhere than the installation under test."""
    with open("/proc/self/maps") as stream:  # noqa: PTH123
        paths = {line.split(maxsplit=5)[5].strip() for line in stream if line.count("/")}
    names = ("libtorch", "libc10", "libcu", "libnv", "libnccl")
    driver = ("libcuda.so", "libnvidia")
    yield from sorted(
        path
        for path in paths
        if os.path.basename(path).startswith(names)  # noqa: PTH119
        and not os.path.basename(path).startswith(driver)  # noqa: PTH119
        and not path.startswith(home + "/")
    )


if __name__ == "__main__":
    main()
