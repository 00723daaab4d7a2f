"""How long packed weights take to load, beside the same weights in float32 loaded by safetensors itself; best of several, file in memory.

    python benchmarks/packed_loading.py MODEL.safetensors [LIMIT]

needs torch and safetensors. Fails where loading packed weights takes more than LIMIT times (1.5) as long as safetensors takes to read
the float32 file into memory of its own (`backend="pread"`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import describe_machine, row

sys.path.insert(0, str(Path(__file__).parents[1]))

import hatch_mlbundle.runtime
from tests.packsmith import int8_row, raw, write_pair

WIDTHS = (52, 12, 12)
TIMES = 9


def main(model: Path, limit: float) -> int:
    import safetensors
    import safetensors.torch as loader

    with tempfile.TemporaryDirectory() as folder:
        packed = pack(model, Path(folder) / model.name, safetensors)
        hatch_mlbundle.runtime.install()
        print(describe_machine())
        print(row("loading all tensors as float32", "ms", "MB on disk", widths=WIDTHS))
        size = model.stat().st_size
        show("float32, mapped (pages not read)", best(lambda: loader.load_file(model)), size)
        show("float32, mapped, each tensor read once", best(lambda: touched(loader.load_file(model))), size)
        plain = best(lambda: loader.load_file(model, backend="pread"))
        show("float32, read into memory", plain, size)
        ours = best(lambda: loader.load_file(packed))
        show("8-bit integers, packed", ours, packed.with_name(f"{packed.name}.mlbundle").stat().st_size)
        start = time.perf_counter()
        with safetensors.safe_open(packed, "pt") as file:
            file.get_slice(max(file.keys(), key=lambda name: file.get_slice(name).get_shape()[0]))[:100]
        show("8-bit integers, 100 rows of the largest", time.perf_counter() - start, 0)
    print(f"ratio {ours / plain:.2f} (limit {limit})")
    return int(ours > limit * plain)


def pack(model: Path, target: Path, safetensors: Any) -> Path:
    """Pack what has two dimensions and more by row."""
    with safetensors.safe_open(model, "np") as file:
        arrays = {name: (file.get_tensor(name), file.get_slice(name).get_dtype()) for name in file.offset_keys()}
    return write_pair(target, *(int8_row(n, a) if a.ndim > 1 else raw(n, a, dtype) for n, (a, dtype) in arrays.items()))


def touched(tensors: dict[str, Any]) -> dict[str, Any]:
    for tensor in tensors.values():
        tensor.sum()
    return tensors


def best(action: Callable[[], object]) -> float:
    found = []
    for _ in range(TIMES):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)


def show(what: str, seconds: float, size: int) -> None:
    print(row(what, f"{seconds * 1e3:.1f}", f"{size / 1e6:.1f}" if size else "", widths=WIDTHS))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.5))
