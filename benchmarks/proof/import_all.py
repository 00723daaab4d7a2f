"""Run by real_wheels.py: import every module of the packages named, and print which imports pass, as JSON."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_SKIPPED = ("__main__", "setup", "_precompute")
"""Programs that run when they are imported."""


def modules(package: str) -> Iterator[str]:
    site = Path(sysconfig.get_path("purelib"))
    for path in sorted((site / package).rglob("*")):
        name, dot, suffix = path.name.partition(".")
        parts = (*path.relative_to(site).parts[:-1], name)
        if dot and (suffix == "py" or suffix.endswith("so")) and all(part.isidentifier() for part in parts):
            yield ".".join(parts[:-1] if name == "__init__" else parts)


def attempt(name: str) -> str:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(name)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "ok"


warnings.simplefilter("ignore")
names = sorted({name for package in sys.argv[1:] for name in modules(package)})
results = {name: attempt(name) for name in names if not any(part in _SKIPPED for part in name.split("."))}
print(json.dumps(results), flush=True)
os._exit(0)
