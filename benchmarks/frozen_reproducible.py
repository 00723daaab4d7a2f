"""Build the example frozen-onnx twice in different surroundings: folder, archives and manifest must be the same.

python benchmarks/frozen_reproducible.py, in an environment as for frozen_sizes.py
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import describe_machine

EXAMPLE = Path(__file__).parents[1] / "examples" / "frozen-onnx"
CONFIGURATION = '\n[tool.mlbundle]\narchive = ["tar.zst", "tar.gz", "zip"]\npacking.zstd-level = 3\nworkers = {workers}\n'
SURROUNDINGS = (
    {"folder": "one", "workers": "1", "umask": "022", "PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
    {"folder": "prüf ordner/two", "workers": "3", "umask": "077", "PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8"},
)


def build(root: Path, folder: str, workers: str, umask: str, **variables: str) -> Path:
    project = root / folder
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("dist"))
    with (project / "pyproject.toml").open("a", encoding="utf-8") as stream:
        stream.write(CONFIGURATION.format(workers=workers))
    environment = {**os.environ, **variables, "MLBUNDLE_CACHE_DIR": str(root / f"cache-{workers}")}
    command = f"umask {umask}; exec '{sys.executable}' -m hatchling build -t frozen"
    subprocess.run(["bash", "-c", command], cwd=project, env=environment, check=True, capture_output=True)
    return project / "dist"


def digests(dist: Path) -> dict[str, str]:
    """Return what there is below a folder: modes and link targets, and hashes of files."""
    found = {}
    for path in sorted(dist.rglob("*")):
        name, mode = path.relative_to(dist).as_posix(), f"{path.lstat().st_mode & 0o777:o}"
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = f"{mode if '/' in name else ''} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        first, second = (digests(build(Path(name), **each)) for each in SURROUNDINGS)
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    print(describe_machine())
    print(f"{len(first):,} files, archives and manifests in two surroundings: {different or 'the same'}")


if __name__ == "__main__":
    main()
