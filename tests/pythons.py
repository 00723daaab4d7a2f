"""Other releases of Python on this machine, to make bytecode with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

RELEASES = ("3.10", "3.11", "3.12", "3.13")

_COMPILE = "import sys, marshal; sys.stdout.buffer.write(marshal.dumps(compile(sys.stdin.buffer.read(), 'module.py', 'exec')))"


def find_python(release: str) -> str | None:
    """Return an interpreter of a release: this one, one on PATH, or one of pyenv's."""
    if release == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    candidates = [*sorted(Path.home().glob(f".pyenv/versions/{release}.*/bin/python")), shutil.which(f"python{release}")]
    return next((str(each) for each in candidates if each and _runs(str(each), release)), None)


def compile_with(python: str, source: str) -> bytes:
    """Return the marshalled code of a module, as that Python compiles it."""
    return subprocess.run([python, "-c", _COMPILE], input=source.encode(), capture_output=True, check=True).stdout


def _runs(python: str, release: str) -> bool:
    asked = subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and asked.stdout.strip() == release
