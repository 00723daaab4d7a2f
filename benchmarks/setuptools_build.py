"""`bdist_wheel` of a tree of 300 MB with and without `[tool.mlbundle]`, turn by turn in the same run, cold and warm."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import cold, describe_machine, row, run

ROUNDS = 3
MODULES = 2000
WEIGHTS = 60 * 10**6
WIDTHS = (24, 10, 14, 14, 14)
PYPROJECT = """\
[build-system]
requires = ["setuptools", "hatch-mlbundle"]
build-backend = "setuptools.build_meta"

[project]
name = "large"
version = "1.0"

[tool.setuptools]
packages = ["large", "large.tests"]
package-data = {"*" = ["*.bin", "*.so"]}
"""
TABLE = "[tool.mlbundle]\n"
BUILD = "from setuptools import setup; setup()"


def project(folder: Path, tables: str) -> Path:
    """Write 2,000 modules, 240 MB of weights that nothing can be done about, a test's data of 30 MB and a native library with symbols."""
    package = folder / "large"
    (package / "tests").mkdir(parents=True)
    chance = random.Random(0)
    for number in range(MODULES):
        lines = "\n".join(f"def function_{line}(argument):\n    return argument + {chance.random()}" for line in range(80))
        (package / f"module_{number}.py").write_text(f"import os\n\n{lines}\n")
    for number in range(4):  # as trained weights do, half of it deflates
        (package / f"weights_{number}.bin").write_bytes(chance.randbytes(WEIGHTS // 2) + bytes(WEIGHTS // 2))
    (package / "tests" / "samples.bin").write_bytes(chance.randbytes(WEIGHTS // 2))
    for name in ("__init__.py", "tests/__init__.py", "tests/test_large.py"):
        (package / name).write_text("")
    library = "\n".join(f"int function_{number}(int a) {{ return a * {number}; }}" for number in range(20_000))
    source = folder / "library.c"
    source.write_text(library)
    run(["gcc", "-g", "-O0", "-shared", "-fPIC", "-o", package / "library.so", source])
    (folder / "pyproject.toml").write_text(PYPROJECT + tables)
    return folder


def build(folder: Path, cache: Path) -> tuple[float, int]:
    """Return seconds and peak memory in bytes of a build from nothing."""
    for name in ("build", "dist"):
        shutil.rmtree(folder / name, ignore_errors=True)
    built = run([sys.executable, "-W", "ignore", "-c", BUILD, "-q", "bdist_wheel"], cwd=folder, env=cold(cache))
    return built.seconds, built.peak


def main() -> None:
    print(describe_machine(), f"- median of {ROUNDS}")
    with tempfile.TemporaryDirectory() as name:
        plain, ours = (project(Path(name) / kind, tables) for kind, tables in (("plain", ""), ("ours", TABLE)))
        size = sum(path.stat().st_size for path in (plain / "large").rglob("*") if path.is_file())
        print(f"a tree of {size / 10**6:.0f} MB, {MODULES} modules")
        columns: dict[str, list[tuple[float, int]]] = {"plain bdist_wheel": [], "mlbundle, cold": [], "mlbundle, warm": []}
        for number in range(ROUNDS):
            cache = Path(name) / f"cache-{number}"
            for label, folder in zip(columns, (plain, ours, ours), strict=True):
                columns[label].append(build(folder, cache))
        sizes = {folder: next((folder / "dist").glob("*.whl")).stat().st_size for folder in (plain, ours)}
    print(row("", "time", "of plain", "peak memory", "wheel", widths=WIDTHS))
    times = {label: median(seconds for seconds, _ in runs) for label, runs in columns.items()}
    for label, runs in columns.items():
        wheel = sizes[plain if label.startswith("plain") else ours]
        share = f"{times[label] / times['plain bdist_wheel']:.2f} x"
        memory = f"{max(peak for _, peak in runs) / 10**6:.0f} MB"
        print(row(label, f"{times[label]:.2f} s", share, memory, f"{wheel / 10**6:.1f} MB", widths=WIDTHS))


if __name__ == "__main__":
    os.umask(0o022)
    main()
