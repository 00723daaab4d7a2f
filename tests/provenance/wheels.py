"""Small wheels to optimize, and what is in the results."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.plugins import load_registry
from tests.bundles.wheelsmith import DIST_INFO, FILE_NAME, build_wheel

RECORD = f"{DIST_INFO}/mlbundle.json"
SBOMS = f"{DIST_INFO}/sboms"
NOISE = hashlib.shake_256(b"noise").digest(5000)


def wheel(folder: Path, files: Mapping[str, bytes] | None = None, **documents: Mapping[str, Any]) -> Path:
    """Write a wheel with a package, these files and these SBOMs, by name without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    sboms = {f"{SBOMS}/{name}.cdx.json": json.dumps(document).encode() for name, document in documents.items()}
    return build_wheel(folder, {"demo/__init__.py": b"answer = 42\n", "demo/notes.txt": NOISE, **(files or {}), **sboms})


def run(wheel: Path, target: Path | None = None, **settings: Any) -> Manifest:
    """Optimize a wheel in place, or to `target`, with an `exclude` of `demo/notes.txt` where nothing else is said."""
    settings = {"optimizers": ["exclude"], "exclude": {"paths": ["demo/notes.txt"]}, "cache": {"enabled": False}, **settings}
    if target:
        target.parent.mkdir()
    registry = load_registry()
    job = prepare(project_config(wheel.parent, registry, settings), registry, project=wheel.parent)
    return optimize(job, wheel, target).manifest


def read(wheel: Path, path: str) -> Any:
    """Return a JSON file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return json.loads(archive.read(path))


def names(wheel: Path) -> set[str]:
    """Return the paths of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


__all__ = ["DIST_INFO", "FILE_NAME", "NOISE", "RECORD", "SBOMS", "names", "read", "run", "wheel"]
