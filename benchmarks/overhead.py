"""What the hook costs where nothing needs changing: `hatch build` of a project with and without it, turn by turn in the same run."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import cold, describe_machine, run

ROUNDS = 5
PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "plain"
version = "1.0"
"""
HOOK = "[tool.hatch.build.targets.wheel.hooks.mlbundle]\n"


def project(folder: Path, tables: str) -> Path:
    """Write 400 modules and 60 MB of weights that no optimizer finds anything in."""
    package = folder / "plain"
    package.mkdir(parents=True)
    for number in range(400):
        lines = "\n".join(f"def function_{line}(argument):\n    return argument + {line}" for line in range(60))
        (package / f"module_{number}.py").write_text(f"import os\n\n{lines}\n")
    (package / "__init__.py").write_text("")
    weights = random.Random(0).randbytes(30 * 10**6)
    (package / "weights.bin").write_bytes(weights + bytes(30 * 10**6))
    (folder / "pyproject.toml").write_text(PYPROJECT + tables)
    return folder


def build(folder: Path, cache: Path) -> float:
    shutil.rmtree(folder / "dist", ignore_errors=True)
    return run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder, env=cold(cache)).seconds


def main() -> None:
    print(describe_machine(), f"- median of {ROUNDS}")
    with tempfile.TemporaryDirectory() as name:
        plain, hooked = (project(Path(name) / kind, tables) for kind, tables in (("plain", ""), ("hooked", HOOK)))
        pairs = [(build(plain, Path(name) / "none"), build(hooked, Path(name) / f"cache-{number}")) for number in range(ROUNDS)]
        same = (next((plain / "dist").glob("*.whl")).read_bytes(), next((hooked / "dist").glob("*.whl")).read_bytes())
    before, after = (median(column) for column in zip(*pairs, strict=True))
    limit = 1.1 * before + 0.5
    print(f"plain {before:.2f} s, with the hook {after:.2f} s")
    print(f"{after / limit:.2f} of the limit: 10 % and 0.5 s more, {limit:.2f} s")
    print("the wheels are the same bytes" if same[0] == same[1] else "THE WHEELS DIFFER")


if __name__ == "__main__":
    os.umask(0o022)
    main()
