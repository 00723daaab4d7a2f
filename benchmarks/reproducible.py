"""Build the same project in surroundings that differ in everything that must not matter; compare wheels and manifests."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import MLBUNDLE, describe_machine, download

SURROUNDINGS = (
    ("plain", 0o022, 1, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0"}),
    ("földer with spaces", 0o077, 2, {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}),
    ("eight workers", 0o002, 8, {"TZ": "America/Lima", "PYTHONHASHSEED": "random", "USER": "somebody", "HOME": "/nonexistent"}),
    ("warm cache", 0o022, 2, {}),
)


def optimize(wheel: Path, folder: Path, umask: int, workers: int, env: dict[str, str]) -> tuple[str, str]:
    """Return the digests of the small wheel and of its manifest."""
    folder.mkdir(exist_ok=True)
    copy = folder / wheel.name
    shutil.copyfile(wheel, copy)
    code = f"import os, sys; os.umask({umask}); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-c", code, *MLBUNDLE, "optimize", "-q", "--workers", str(workers), str(copy)]
    subprocess.run(command, env={**os.environ, **env}, cwd=folder, check=True)
    first, second = (hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in (copy, Path(f"{copy}.mlbundle.json")))
    return first, second


def main() -> None:
    print(describe_machine())
    differ = False
    for wheel in download("scipy", "numba", "tokenizers", "numpy"):
        seen = set()
        with tempfile.TemporaryDirectory() as name:
            for label, umask, workers, env in SURROUNDINGS:
                cache = Path(name) / ("cache of plain" if label == "warm cache" else f"cache of {label}")
                digests = optimize(wheel, Path(name) / label, umask, workers, {**env, "MLBUNDLE_CACHE_DIR": str(cache)})
                seen.add(digests)
        differ |= len(seen) > 1
        print(
            f"{wheel.name.partition('-')[0]:12}{'identical' if len(seen) == 1 else 'DIFFERENT'} in {len(SURROUNDINGS)} surroundings: {seen}"
        )
    sys.exit(differ)


if __name__ == "__main__":
    main()
