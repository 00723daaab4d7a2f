"""Real wheels from the registry: made small with the default configuration, installed, and used."""

from __future__ import annotations

import platform
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import REPOSITORY, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="the wheels are for x86-64 Linux"),
]

USE_TORCH = """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(5))
data = torch.randn(4, 3, 16, 16)
model(data).sum().backward()
scripted = torch.jit.trace(model, data)
a = torch.randn(64, 64, dtype=torch.float64)
print(scripted(data).detach().numpy().tobytes().hex()[:64], torch.linalg.svd(a)[1].sum().item(), torch.fft.fft(a).abs().sum().item())
"""


def download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder), requirement]
    subprocess.run(command, check=True, env=environment())
    (wheel,) = folder.glob("*.whl")
    return wheel


def optimize(wheel: Path, folder: Path) -> tuple[Path, Manifest]:
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "-q", "-o", str(folder), str(wheel)]
    subprocess.run(command, check=True, env=environment(), cwd=wheel.parent)
    return folder / wheel.name, Manifest.load(folder / (wheel.name + SUFFIX))


def install(python: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", *map(str, arguments)]
    subprocess.run(command, check=True, env=environment())


def python_with(folder: Path, *requirements: object) -> Path:
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install(python, *requirements)
    return python


def printed(python: Path, *arguments: object) -> str:
    return subprocess.run([python, *map(str, arguments)], check=True, capture_output=True, text=True, env=environment()).stdout


def test_numpy_with_its_openblas(tmp_path: Path) -> None:
    small, manifest = optimize(download("numpy", tmp_path), tmp_path / "small")
    (openblas,) = (row for row in manifest.files if "openblas" in row.path)
    assert openblas.before is not None
    assert openblas.after is not None
    assert openblas.after.size < openblas.before.size - 500_000
    assert [change.action for change in openblas.changes] == ["rewrite"]
    assert manifest.findings == ()
    python = python_with(tmp_path / "venv", small)
    installed = next((tmp_path / "venv").rglob(Path(openblas.path).name))
    with Reader(installed) as reader:
        assert ".symtab" not in {section.name for section in read_elf(reader).sections}
    results = printed(python, REPOSITORY / "benchmarks" / "proof" / "import_all.py", "numpy")
    assert '"numpy.linalg._umath_linalg": "ok"' in results
    assert "ImportError: /" not in results
    assert printed(python, "-c", "import numpy as n; a = n.eye(300) * 2; print((a @ n.linalg.inv(a)).trace())").strip() == "300.0"


@pytest.mark.very_slow
def test_torch(tmp_path: Path) -> None:
    wheel = download("torch==2.13.0", tmp_path)
    small, manifest = optimize(wheel, tmp_path / "small")
    assert manifest.findings == ()
    assert manifest.artifact.after.installed < 0.75 * manifest.artifact.before.installed
    python = python_with(tmp_path / "venv", wheel, "numpy")
    whole = printed(python, "-c", USE_TORCH)
    install(python, "--no-deps", "--force-reinstall", small)
    assert printed(python, "-c", USE_TORCH) == whole
