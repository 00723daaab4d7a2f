"""See how a PyTorch library really chooses among kernels, for each instruction set that it can be told to use."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .load import ENVIRONMENT

_CHILD = Path(__file__).with_name("dispatch_trial_child.py")
_SECONDS = 120.0
_EXPECTED = {"default": ["16", "16"], "avx2": ["48", "48"], "avx512": ["32", "48"]}
"""What is taken where the kernels are at 16 (DEFAULT), 48 (AVX2) and 32 (AVX-512), and where there is none for AVX-512."""


def why_not_chosen(library: Path) -> str | None:
    """Return what speaks against the rules that `dispatch_stubs` goes by, None where the library keeps them.

    It has to be loaded for that, by this machine; no kernel is run.
    """
    for capability, expected in _EXPECTED.items():
        words = _choose(library, capability)
        if words is None:
            return "it does not load here, so that it cannot be seen how it chooses among kernels"
        if not words or words != expected * (len(words) // len(expected)):
            return "it does not choose among kernels as the releases of PyTorch do that are known here"
    return None


def _choose(library: Path, capability: str) -> list[str] | None:
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(_CHILD), str(library.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
            env={**environment, "ATEN_CPU_CAPABILITY": capability},
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").split() if done.returncode == 0 else None
