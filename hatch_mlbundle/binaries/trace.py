"""Tell how glibc would start a program, without running any of the program's own code."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from .load import ENVIRONMENT

_ADDRESS = re.compile(r" \(0x[0-9a-f]+\)$")


def trace(path: Path, *, seconds: float = 60.0) -> tuple[str, ...] | None:
    """Return the libraries that the program at `path` would be started with, each as `name => path`; None where it does not start.

    The kernel maps the program, or a packer's stub in it does, and starts the linker, which lists what it finds and ends
    (LD_TRACE_LOADED_OBJECTS, ld.so(8)). To be asked of programs alone whose interpreter is glibc's: others would run them.
    """
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    try:
        result = subprocess.run(
            [str(path.absolute())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=tempfile.gettempdir(),
            env={**environment, "LD_TRACE_LOADED_OBJECTS": "1"},
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = tuple(_ADDRESS.sub("", line.strip()) for line in result.stdout.splitlines())
    return lines if result.returncode == 0 and lines else None
