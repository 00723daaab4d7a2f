"""Measure PyTorch files made smaller, or safetensors, beside what torch itself takes for the same; --size in MB of weights.

The interpreter (--torch) is one that has torch and safetensors; without torch only our own figures are printed. Peak memory is above
that of an interpreter that imports nothing of the kind.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import common

MAKE = """
import sys, torch
from pathlib import Path
folder, size = Path(sys.argv[1]), int(sys.argv[2])
count = size * 1000 * 1000 // 4
layer = 4 * 1000 * 1000
state = {f"layer.{number}.weight": torch.randn(2000, layer // 2000) for number in range(max(1, count // layer))}
torch.save(state, folder / "weights.pt")
adam = {number: {"step": torch.tensor(3.0), "exp_avg": torch.randn_like(each), "exp_avg_sq": torch.rand_like(each)}
        for number, each in enumerate(list(state.values())[: max(1, len(state) // 4)])}
part = dict(list(state.items())[: len(adam)])
torch.save({"model": part, "optimizer": {"state": adam, "param_groups": [{"params": list(adam)}]}}, folder / "training.pt")
rows, table = torch.randn(1000, 1000), torch.randn(1000, 1000)
torch.save({"rows": rows[100:110, :], "column": table[:, 7:8]}, folder / "views.pt")
torch.save({"turned": torch.randn(4000, 4000).t()}, folder / "turned.pt")
"""
OURS = """
import sys
from pathlib import Path
from hatch_mlbundle.models.torch_shrink import check_shrunk, convert, shrink
source, target, action = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if action == "safetensors":
    convert(source, target, drop_training_state=True)
else:
    shrink(source, target, drop_training_state=True)
    check_shrunk(source, target, drop_training_state=True)
"""
THEIRS = """
import sys, torch, os
from safetensors.torch import save_file
source, target, action = sys.argv[1:]
value = torch.load(source, weights_only=True)
if action == "safetensors":
    save_file({name: tensor.contiguous() for name, tensor in value.items()}, target)
else:
    value.pop("optimizer", None)
    clone = lambda each: {name: clone(inner) for name, inner in each.items()} if isinstance(each, dict) else each.clone()
    torch.save(clone(value), target)
"""
BARE = "import zipfile, hashlib, dataclasses, json"
COPY = """
import shutil, sys, os
shutil.copyfile(sys.argv[1], sys.argv[2])
os.sync()
"""
WIDTHS = (34, 12, 12, 10, 18, 12)
RUNS = 3


def best(command: Sequence[str | Path], target: Path) -> common.Run:
    """Run a command several times, the target away before each; return the fastest run."""
    runs = []
    for _ in range(RUNS):
        target.unlink(missing_ok=True)
        runs.append(common.run(command))
    return min(runs, key=lambda run: run.seconds)


def measure(title: str, source: Path, action: str, python: str) -> None:
    """Print a line for our way, and one for torch's."""
    target = source.with_name("out")
    before = source.stat().st_size / 1e6
    bare = common.run([sys.executable, "-c", BARE])
    for name, command in (("ours", [sys.executable, "-c", OURS]), ("torch", [python, "-W", "ignore", "-c", THEIRS])):
        imports = [python, "-W", "ignore", "-c", "import torch, safetensors.torch"] if name == "torch" else [sys.executable, "-c", BARE]
        start = best(imports, target)
        run = best([*command, source, target, action], target)
        after = target.stat().st_size / 1e6
        memory = f"{(run.peak - bare.peak) / 1e6:.1f}"
        cells = (f"{before:.1f}", f"{after:.1f}", f"{run.seconds:.2f}", f"{run.seconds - start.seconds:.2f}", memory)
        print(common.row(f"{title}, {name}", *cells, widths=WIDTHS))
    run = best([sys.executable, "-c", COPY, source, target], target)
    print(common.row(f"{title}, copied", f"{before:.1f}", f"{before:.1f}", f"{run.seconds:.2f}", "", "", widths=WIDTHS))
    target.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="MB of weights")
    parser.add_argument("--torch", default=sys.executable, help="an interpreter with torch and safetensors")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    print(common.describe_machine())
    print(common.row("", "before, MB", "after, MB", "seconds", "without imports", "memory, MB", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common.run([options.torch, "-W", "ignore", "-c", MAKE, folder, str(options.size)])
        measure("state dict to safetensors", folder / "weights.pt", "safetensors", options.torch)
        measure("transposed to safetensors", folder / "turned.pt", "safetensors", options.torch)
        measure("training checkpoint to .pt", folder / "training.pt", "torch", options.torch)
        measure("sliced views to .pt", folder / "views.pt", "torch", options.torch)


if __name__ == "__main__":
    main()
