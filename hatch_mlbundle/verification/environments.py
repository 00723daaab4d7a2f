"""A fresh virtual environment in which a wheel is installed, to run it as its users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import VerificationError

_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables that would let another environment shine through."""

_PATIENCE = 1800.0
"""Seconds that an installation may take: the wheels that a wheel needs may be gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment: its folder, its Python, and where it imports from."""

    folder: Path
    python: Path
    site_packages: Path


def install(wheel: Path, requirements: Sequence[str], folder: Path) -> Environment:
    """Make a virtual environment in `folder` and install a wheel there with what it needs; raises VerificationError.

    pip fetches what is needed as it is set up on this machine (PIP_INDEX_URL, PIP_FIND_LINKS, ...).
    """
    _run([sys.executable, "-m", "venv", str(folder)], "cannot make a virtual environment to verify the wheel in")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-input", str(wheel), *requirements]
    _run(pip, f"cannot install {wheel.name} to verify it")
    asked = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return Environment(folder=folder, python=python, site_packages=Path(_run([str(python), "-c", asked], "has no site-packages").strip()))


def _run(arguments: Sequence[str], consequence: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    try:
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VerificationError(f"{consequence}: {error}; install what is missing, or remove [tool.mlbundle.verify]") from error
    if done.returncode:
        lines = [
            line for line in (done.stderr or done.stdout).splitlines() if line.strip() and not line.startswith(("WARNING", "[notice]"))
        ]
        reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise VerificationError(f"{consequence}: {reason}")
    return done.stdout
