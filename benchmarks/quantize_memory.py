"""Memory and time of storing a 4.75 GB safetensors file in 16 and 8 bits, beside `cp`, and torch's own load, convert and save.

    python benchmarks/quantize_memory.py [FOLDER] [GB]

MLBUNDLE_TORCH_PYTHON names another Python that has torch and safetensors.

Peak memory is that of a process that does nothing else, less that of one that only imports what it imports. Every time is to the end of
an fsync, and the source is dropped from the system's cache before each run where the system lets us. Where other work keeps the
processors busy, see the seconds of processors: `cp` hardly needs any, and so suffers little from it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import describe_machine, run

MEMORY_LIMIT = 64 * 10**6
TIME_LIMIT = 1.1
LAYER = (4096, 4096)

IMPORTS = """
import os, sys
import numpy, ml_dtypes
from pathlib import Path
"""
CONVERT = (
    IMPORTS
    + """
from hatch_mlbundle.models.gates import LADDERS, Policy, named
from hatch_mlbundle.models.quantized_check import check_quantized
from hatch_mlbundle.models.quantizing import quantize_file
from hatch_mlbundle.models.safetensors import read_header
target, source, made = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
policy = Policy(target=target, min_sqnr=35.0, group=32, min_count=4096, keeps=named(()), delicate=named(()))
header = read_header(source)
result = quantize_file(source, header, made, policy, lambda _: LADDERS[target][0])
check_quantized(source, header, made, result)
descriptor = os.open(made, os.O_RDONLY)
os.fsync(descriptor)
"""
)
TORCH = """
import os, sys, torch
from safetensors.torch import load_file, save_file
tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(sys.argv[2]).items()}
save_file(tensors, sys.argv[3])
descriptor = os.open(sys.argv[3], os.O_RDONLY)
os.fsync(descriptor)
"""
COPY = ("sh", "-c", 'cp "$1" "$2" && sync "$2"', "sh")


def write_model(path: Path, size: int) -> None:
    """Write layers of normally distributed weights, the same numbers in another order in each."""
    layer = (np.random.default_rng(0).standard_normal(LAYER) * 0.02).astype(np.float32)
    count = size // layer.nbytes
    entries = {
        f"model.layers.{number}.weight": {
            "dtype": "F32",
            "shape": list(LAYER),
            "data_offsets": [number * layer.nbytes, (number + 1) * layer.nbytes],
        }
        for number in range(count)
    }
    head = json.dumps(entries).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(head)) + head)
        for number in range(count):
            stream.write(np.roll(layer, number + 1, axis=0).data)
        stream.flush()
        os.fsync(stream.fileno())


def drop_from_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def has_torch(python: str) -> bool:
    command = [python, "-c", "import torch, safetensors"]
    return shutil.which(python) is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def measure(name: str, command: list[str | Path], source: Path, made: Path, *, base: int, cp: float, bound: bool) -> float:
    drop_from_cache(source)
    before = cpu_seconds()
    result = run(command)
    used = cpu_seconds() - before
    size = made.stat().st_size
    made.unlink()
    ratio = result.seconds / cp if cp else 1.0
    line = f"{name:10} {result.seconds:6.2f} s, {ratio:5.2f} x cp"
    memory = (result.peak - base) / 1e6
    if bound:
        line += f" ({ratio / TIME_LIMIT:.2f} of the limit)"
        line += f", {memory:6.1f} MB more than its imports ({memory * 1e6 / MEMORY_LIMIT:.2f} of the limit)"
    elif cp:
        line += f", {memory:6.0f} MB more than its imports"
    print(f"{line}, {used:.1f} s of processors, {size / source.stat().st_size:.3f} of the size", flush=True)
    return result.seconds


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    size = int(float(sys.argv[2] if len(sys.argv) > 2 else 4.75) * 1e9)
    torch_python = os.environ.get("MLBUNDLE_TORCH_PYTHON", sys.executable)
    print(describe_machine())
    try:
        source, made = folder / "model.safetensors", folder / "made"
        write_model(source, size)
        base = run([sys.executable, "-c", IMPORTS]).peak
        cp = measure("cp", [*COPY, source, made], source, made, base=0, cp=0, bound=False)
        for target in ("float16", "bfloat16", "int8"):
            measure(target, [sys.executable, "-c", CONVERT, target, source, made], source, made, base=base, cp=cp, bound=True)
        if has_torch(torch_python):
            base = run([torch_python, "-c", "import torch, safetensors.torch"]).peak
            measure("torch fp16", [torch_python, "-c", TORCH, "float16", source, made], source, made, base=base, cp=cp, bound=False)
    finally:
        start = time.perf_counter()
        shutil.rmtree(folder)
        print(f"removed in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
