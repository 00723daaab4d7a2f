"""The installation as it is and as it is pruned: trees of the same files, found by Python before those of the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent


def link_installation(site: Path, target: Path) -> int:
    """Give torch's and NVIDIA's files in a site-packages second names below `target`; return their bytes.

    Nobody writes to them there. Where hard links are not possible, they are copies.
    """
    size = 0
    for distribution in distributions(path=[str(site)]):
        name = distribution.metadata["Name"].lower()
        if name != "torch" and not name.startswith("nvidia"):
            continue
        for entry in distribution.files or ():
            source, place = site / entry, target / entry
            if ".." in entry.parts or entry.suffix == ".pyc" or not source.is_file() or place.exists():
                continue  # place.exists(): several distributions have the same nvidia/__init__.py
            size += source.stat().st_size
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(source, place)
    return size


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def prune(source: Path, target: Path, scratch: Path, targets: Sequence[str], *, ptx: str = "when-needed") -> str:
    """Prune and compact every library in a folder; return what mlbundle prints."""
    project, temporary = scratch / "project", scratch / "tmp"
    for folder in (project, temporary):
        folder.mkdir(exist_ok=True)
    options = f'targets = {list(targets)}\nptx = "{ptx}"\nlibraries = ["*"]\n'
    (project / "pyproject.toml").write_text(f'[tool.mlbundle]\noptimizers = ["gpu_code"]\n[tool.mlbundle.gpu_code]\n{options}')
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "--no-cache", "--project", project, "-o", target, source]
    result = subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"mlbundle failed:\n{result.stdout}{result.stderr}")
    return result.stdout
