"""What a frozen bundle needs to start where there is nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .c_library import c_library_folder
from .mounts import Mount
from .python_files import libraries_of

_ASSUMED = frozenset({"libz.so.1"})
"""What PyInstaller's bootloader links to and looks for in the system alone (its bootloader/wscript): without, no bundle starts at all,
so whoever can start one has it."""


def bundle_mounts(bundle: Path) -> list[Mount]:
    """Return a frozen bundle, a folder or an executable, read-only under its own path, and what its bootloader takes from the system."""
    found = libraries_of(_programs(bundle))
    assumed = [Mount(source=path.resolve(), target=c_library_folder() / name) for name, path in found.items() if name in _ASSUMED]
    return [Mount.of(bundle), *assumed]


def _programs(bundle: Path) -> Iterable[Path]:
    candidates = bundle.iterdir() if bundle.is_dir() else [bundle]
    return [path for path in candidates if path.is_file() and os.access(path, os.X_OK)]
