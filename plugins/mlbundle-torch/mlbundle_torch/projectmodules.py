"""What a factory's result depends on: the project's own modules."""

from __future__ import annotations

import hashlib
from pathlib import Path


def source_digest(project: Path, factory: str) -> str:
    """Return a SHA-256 of the Python files of a factory's top-level module; that of nothing where the project has no such module.

    What that module imports from elsewhere is not looked at: a change there is not seen by the cache.
    """
    name = factory.partition(":")[0].partition(".")[0]
    digest = hashlib.sha256()
    for folder in (project, project / "src"):
        lone = folder / f"{name}.py"
        for path in [lone] if lone.is_file() else sorted((folder / name).rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
