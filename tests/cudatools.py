"""NVIDIA's own compiler, linkers and reader of fat binaries, from the package registry. None of them needs a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.projects import environment

VERSION = "13.5.37"
PARTS = ("nvcc", "crt", "runtime", "cuobjdump")
"""The compiler, headers, and cuobjdump."""


@dataclass(frozen=True)
class Cuda:
    """An unpacked toolkit: its programs are in `folder/bin`."""

    folder: Path

    def run(self, *command: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its programs; what it prints, both streams together, is in `stdout`."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        words = [str(self.folder / "bin" / str(command[0])), *map(str, command[1:])]
        ran = subprocess.run(
            words,
            cwd=cwd,
            env=environment(PATH=path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or ran.returncode == 0, ran.stdout
        return ran


def download_cuda(folder: Path) -> Cuda:
    """Return the toolkit: nvcc, cicc, ptxas, fatbinary, nvlink, cuobjdump and nvJitLink (170 MB)."""
    names = [*(f"nvidia-cuda-{part}" for part in PARTS), "nvidia-nvvm", "nvidia-nvjitlink"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*command, *(f"{name}=={VERSION}" for name in names)], check=True, env=environment())
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
    root = folder / "nvidia" / "cu13"
    for program in (*(root / "bin").iterdir(), root / "nvvm" / "bin" / "cicc"):
        if program.is_file():
            program.chmod(0o755)
    return Cuda(root)
