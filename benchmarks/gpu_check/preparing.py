"""Gather in one folder what the checks need and a machine without internet lacks: our kernels, built, and mlbundle with its libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
COMPILER = ("nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-cccl", "nvidia-cuda-runtime")
"""The wheels that nvcc consists of (CUDA 13)."""
ARCHITECTURES = ("75", "80", "86", "90", "100", "120")
WRONG = {"8": "9.0"}
"""A target whose code no GPU of this major runs; 8.0 for all others."""


def wrong_target(capability: str) -> str:
    """Return a compute capability of which no code runs on a GPU of this one."""
    return WRONG.get(capability.partition(".")[0], "8.0")


def prepare(folder: Path, python: str | None, *, torch: str | None) -> None:
    """Put everything into `folder`; what is there already is left alone.

    `python` is the version (`3.12`) that will run the checks, where it is another than this one; `torch` is a requirement to install
    into `folder/site`, for machines that have none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    install(folder / "libraries", [str(PROJECT)], python)
    if torch:
        install(folder / "site", [torch], python)
    if not (folder / "kernels").is_dir():
        build_kernels(folder / "kernels", folder / "compiler")
        shutil.rmtree(folder / "compiler", ignore_errors=True)


def install(target: Path, requirements: Sequence[str], python: str | None, *, alone: bool = False) -> None:
    """Install requirements into a folder with pip."""
    if target.is_dir():
        return
    platforms = [each for minor in (17, 27, 28) for each in ("--platform", f"manylinux_2_{minor}_x86_64")]
    other = ["--python-version", python, "--only-binary=:all:", *platforms, "--platform", "manylinux2014_x86_64"] if python else []
    if python and str(PROJECT) in requirements:  # pip builds nothing for another Python: a wheel of ours first
        wheels = target.with_name("wheels")
        run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, PROJECT])
        requirements = [str(path) for path in wheels.glob("*.whl")]
    partial = _emptied(target)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", partial, *other, *(["--no-deps"] if alone else [])]
    run([*command, *requirements])
    partial.rename(target)


def build_kernels(folder: Path, compiler: Path) -> None:
    """Build our kernels with the nvcc on PATH, or else with one from the package registry."""
    found = shutil.which("nvcc")
    if found is None:
        install(compiler, COMPILER, None, alone=True)
        (toolkit,) = compiler.glob("nvidia/cu*")
        found = str(toolkit / "bin" / "nvcc")
    toolkit = Path(found).resolve().parents[1]
    libraries = [f"-L{toolkit / name}" for name in ("lib", "lib64") if (toolkit / name).is_dir()]
    common = [found, "-std=c++17", "-O2", "-shared", "-Xcompiler", "-fPIC", "-cudart", "static", "-t", "0", *libraries]
    cubins = [option for each in ARCHITECTURES for option in ("-gencode", f"arch=compute_{each},code=sm_{each}")]
    newest = ["-gencode", f"arch=compute_{ARCHITECTURES[-1]},code=compute_{ARCHITECTURES[-1]}"]
    builds: Mapping[str, Sequence[str | Path]] = {
        "compressed": [*cubins, *newest, HERE / "kernels.cu"],
        "plain": [*cubins, *newest, "-no-compress", HERE / "kernels.cu"],
        "linked": [*cubins, "-rdc=true", "-DLINKED", HERE / "kernels.cu", HERE / "linked.cu"],
        "ptx": ["-gencode", "arch=compute_75,code=compute_75", HERE / "kernels.cu"],
    }
    partial = _emptied(folder)
    partial.mkdir()
    environment = {**os.environ, "PATH": f"{toolkit / 'bin'}:{os.environ.get('PATH', '')}"}
    for name, options in builds.items():
        print(f"building libkernels_{name}.so", flush=True)
        run([*common, *options, "-o", partial / f"libkernels_{name}.so"], environment)
    partial.rename(folder)


def _emptied(folder: Path) -> Path:
    """Return the name under which a folder is made, so that a run that was stopped leaves no half of one."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    return partial


def run(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Run a command; end with its output where it fails."""
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{result.stdout}{result.stderr}")
