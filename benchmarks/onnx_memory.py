"""Memory and time for an ONNX model with 2.8 GB of external data, stored as float16 and as int8; onnxruntime's own quantizer beside it.

Needs mlbundle-onnx. `mlbundle optimize` runs as a user runs it, with an empty cache: it reads, hashes, converts, checks and writes. It is
measured without and with opening both models to compare them, which happens in a process of its own and takes what a model takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from common import MLBUNDLE, cold, describe_machine, row, run
from onnx import TensorProto, helper

SIZE, LAYERS = 10_000, 7
LIMIT = 150 * 10**6
"""Bytes that a conversion may take."""

NEEDED = 12 * 10**9
"""Bytes of memory that have to be free for onnxruntime's quantizer."""

WIDTHS = (34, 10, 12, 16)
QUANTIZE = """
import sys
from onnxruntime.quantization import quantize_dynamic
quantize_dynamic(sys.argv[1], sys.argv[2], per_channel=True, use_external_data_format=True)
"""


def chain(folder: Path) -> None:
    """Write a model that multiplies by one matrix after the other."""
    folder.mkdir()
    random = np.random.default_rng(0)
    nodes, tensors, offset = [], [], 0
    with (folder / "model.onnx.data").open("wb") as stream:
        for number in range(LAYERS):
            for _ in range(0, SIZE, 100):
                stream.write((random.standard_normal((100, SIZE), np.float32) * np.float32(SIZE**-0.5)).data)
            nodes.append(helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"]))
            tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=(SIZE, SIZE), data_location=TensorProto.EXTERNAL)
            for key, value in (("location", "model.onnx.data"), ("offset", offset), ("length", 4 * SIZE * SIZE)):
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            offset += 4 * SIZE * SIZE
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", SIZE]) for name in ("x0", f"x{LAYERS}")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")


def copied(source: Path, target: Path) -> float:
    """Return the seconds that a copy takes, down to the disk."""
    start = time.perf_counter()
    run(["cp", "-r", source, target])
    for path in target.iterdir():
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
    return time.perf_counter() - start


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def free() -> int:
    """Return the bytes of memory that are free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def show(what: str, seconds: float, peak: int | None, folder: Path) -> None:
    print(row(what, f"{seconds:.1f} s", "" if peak is None else f"{peak / 1e6:,.0f} MB", f"{size(folder) / 1e6:,.0f} MB", widths=WIDTHS))


def optimized(folder: Path, form: str, opened: str) -> int:
    """Run `mlbundle optimize`, and return its peak memory."""
    work = Path(tempfile.mkdtemp(dir=folder))
    options = f'onnx_quantize.dtype = "{form}"\nonnx_quantize.max-opened = "{opened}"\n'
    (work / "pyproject.toml").write_text(f'[tool.mlbundle]\noptimizers = ["onnx_quantize"]\n{options}')
    command = [*MLBUNDLE, "optimize", "-q", "-o", work / "out", folder / "model"]
    result = run(command, cwd=work, env={**cold(work / "cache"), "TMPDIR": str(work)})
    show(f"{form}, {'not opened' if opened == '0 B' else 'opened and compared'}", result.seconds, result.peak, work / "out")
    run(["rm", "-r", work])
    return result.peak


def main() -> None:
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=os.environ.get("MLBUNDLE_BENCHMARKS")) as name:
        folder = Path(name)
        chain(folder / "model")
        print(row("", "time", "peak", "result", widths=WIDTHS))
        show("cp, with fsync", copied(folder / "model", folder / "copy"), None, folder / "copy")
        run(["rm", "-r", folder / "copy"])
        peaks = [optimized(folder, form, "0 B") for form in ("float16", "int8")]
        optimized(folder, "int8", "4 GB")
        if free() > NEEDED:
            (folder / "theirs").mkdir()
            theirs = run([sys.executable, "-c", QUANTIZE, folder / "model" / "model.onnx", folder / "theirs" / "model.onnx"])
            show("onnxruntime's quantize_dynamic", theirs.seconds, theirs.peak, folder / "theirs")
        else:
            print(f"onnxruntime's quantize_dynamic: left out, less than {NEEDED / 1e9:.0f} GB of memory are free")
    within = max(peaks) <= LIMIT
    print(f"peak: {'kept' if within else 'missed'}: at most {LIMIT / 1e6:.0f} MB, {max(peaks) / 1e6:.0f} MB taken")
    sys.exit(0 if within else 1)


if __name__ == "__main__":
    main()
