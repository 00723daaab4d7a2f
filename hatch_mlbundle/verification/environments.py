"""A fresh virtual environment in which a wheel is installed, to run it as its users do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import VerificationError
from hatch_mlbundle.trials.process import Bounds, Command, run

_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables that would let another environment shine through."""

_PATIENCE = 1800.0
"""Seconds that an installation may take: the wheels that a wheel needs may be gigabytes."""
_ENDLESS = 1 << 50

_UNTELLING = ("WARNING", "[notice]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment: its folder, its Python, and where it imports from."""

    folder: Path
    python: Path
    site_packages: Path


def install(wheel: Path, requirements: Sequence[str], folder: Path) -> Environment:
    """Make a virtual environment below the empty `folder` and install a wheel there with what it needs; raises VerificationError.

    pip fetches what is needed as it is set up on this machine (PIP_INDEX_URL, PIP_FIND_LINKS, ...). The current folder, often a project's,
    hides no module from it.
    """
    place = folder / "environment"
    _run([sys.executable, "-I", "-m", "venv", str(place)], folder, "cannot make a virtual environment to verify the wheel in")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-input"]
    _run([*pip, str(wheel.absolute()), *requirements], folder, f"cannot install {wheel.name} to verify it")
    asked = "import sysconfig; print(sysconfig.get_path('platlib'))"
    said = _run([str(python), "-I", "-c", asked], folder, "cannot find the folder for packages of a virtual environment")
    return Environment(folder=place, python=python, site_packages=Path(said.strip()))


def _run(arguments: Sequence[str], folder: Path, consequence: str) -> str:
    """Return what a program prints; whatever ends us, it does not outlive us."""
    environment = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    command = Command(arguments=tuple(arguments), folder=Path.cwd(), environment=environment)
    ended = run(command, Bounds(seconds=_PATIENCE, written=_ENDLESS), folder / "said")
    if ended.status == 0:
        return ended.stdout.read_text(encoding="utf-8", errors="replace")
    said = [path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (ended.stderr, ended.stdout)]
    telling = [line.strip() for lines in said for line in lines if line.strip() and not line.startswith(_UNTELLING)]
    reason = _reason(telling) if telling else ended.overrun or f"exit status {ended.status}"
    raise VerificationError(f"{consequence}: {reason}; see to it, or do without ([tool.mlbundle.verify], --no-verify)")


def _reason(lines: Sequence[str]) -> str:
    """Return the line that tells why: pip's last error, else the last line."""
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines)[-1]
