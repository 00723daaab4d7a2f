"""What bytecode without sources and docstrings costs and saves: real packages, as wheels, as pip installs them, and at their first import.

python benchmarks/bytecode.py

Each wheel is given the tag of this Python first, for wheels of pure Python are for all of them. What pip installs is counted with the
bytecode that it compiles. The first import is that of a folder nobody can write to: without bytecode there, each process compiles.
What the packages need for it is installed beside, the same for all forms.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median

from common import MLBUNDLE, cold, describe_machine, download, row, run

PACKAGES = {"requests": "requests", "jinja2": "jinja2", "rich": "rich.console", "sqlalchemy": "sqlalchemy.orm", "sympy": "sympy"}
"""Requirements, and what is imported of each."""
TAG = "cp{}{}".format(*sys.version_info)
WIDTHS = (14, 13, 12, 12, 14)
ROUNDS = 5


def retagged(wheel: Path, folder: Path) -> Path:
    """Return a copy of a wheel that is for this Python alone."""
    folder.mkdir(parents=True)
    copy = Path(shutil.copy(wheel, folder))
    run([sys.executable, "-m", "wheel", "tags", "--remove", "--python-tag", TAG, "--abi-tag", TAG, copy])
    (made,) = folder.glob("*.whl")
    return made


def optimized(wheel: Path, folder: Path, *, docstrings: bool, package: str) -> Path:
    """Return the wheel with bytecode in the place of all its sources that this Python can compile."""
    made = retagged(wheel, folder)
    lines = ["[tool.mlbundle]", 'optimizers = ["sourceless"]', "[tool.mlbundle.sourceless]", "may-grow = true"]
    lines += [f"docstrings = {str(docstrings).lower()}", f'packages = ["{package}"]']
    (folder / "pyproject.toml").write_text("\n".join(lines))
    run([*MLBUNDLE, "optimize", "-q", made], cwd=folder, env=cold(folder / "cache"))
    return made


def installed(wheel: Path, folder: Path) -> Path:
    """Unpack a wheel as pip does, with the bytecode that it compiles."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=False, capture_output=True)
    return folder


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def needed(folder: Path) -> Path:
    """Install the packages with what they require, and return the folder."""
    run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, *PACKAGES])
    return folder


def first_import(folder: Path, name: str, beside: Path) -> float:
    """Return the seconds that an import takes where no bytecode of sources is there, and none can be written."""
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    command = [sys.executable, "-B", "-c", f"import sys; sys.path[:0] = {[str(folder), str(beside)]!r}; import {name}"]
    return median(run(command).seconds for _ in range(ROUNDS))


def measure(requirement: str, imported: str, home: Path, beside: Path) -> None:
    """Print a row for each form of a wheel."""
    (wheel,) = download(requirement)
    forms = {"as it is": retagged(wheel, home / "plain")}
    package = imported.partition(".")[0]
    forms["sourceless"] = optimized(wheel, home / "sourceless", docstrings=True, package=package)
    forms["no docs"] = optimized(wheel, home / "bare", docstrings=False, package=package)
    print(wheel.name)
    for name, form in forms.items():
        with zipfile.ZipFile(form) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        site = installed(form, home / f"site-{name}")
        with_pip = size_of(site)
        seconds = first_import(site, imported, beside)
        sizes = (f"{size / 1e6:.2f} MB" for size in (form.stat().st_size, unpacked, with_pip))
        print(row(f"  {name}", *sizes, f"{seconds:.2f} s", widths=WIDTHS))


def main() -> None:
    print(describe_machine())
    print(row("", "wheel", "unpacked", "by pip", "first import", widths=WIDTHS))
    with tempfile.TemporaryDirectory() as beside:
        needed(Path(beside))
        for requirement, imported in PACKAGES.items():
            with tempfile.TemporaryDirectory() as name:
                measure(requirement, imported, Path(name), Path(beside))


if __name__ == "__main__":
    main()
