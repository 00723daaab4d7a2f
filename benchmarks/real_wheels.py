"""Real wheels of the registry, optimized with the default configuration: sizes before and after, and the proof that they work.

Two virtual environments, one with the wheels as they are and one with the small ones, import every module and run pieces of the
packages' own tests. The tests come from an unoptimized copy beside both; nothing that passes with the whole wheels may fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

from common import MLBUNDLE, describe_machine, download, row, run

from hatch_mlbundle.manifest import SUFFIX, Manifest

PROOF = Path(__file__).parent / "proof"
WHEELS = ("scipy", "pandas", "numba", "tokenizers", "numpy")
NEEDED = ("pytest", "hypothesis", "llvmlite", "python-dateutil", "tzdata", "huggingface-hub")
SUITES = (
    "numpy/lib/tests",
    "numpy/linalg/tests",
    "numpy/random/tests",
    "scipy/linalg/tests",
    "scipy/integrate/tests",
    "scipy/sparse/linalg/tests",
    "pandas/tests/reshape",
    "pandas/tests/util",
    "pandas/tests/io/json",
    "numba/tests/test_slices.py",
    "numba/tests/test_tuples.py",
    "numba/tests/test_typedlist.py",
)
WIDTHS = (12, 18, 18, 12, 12)


def main() -> None:
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="real-wheels-") as name:
        folder = Path(name)
        wheels = download(*WHEELS)
        small = [optimize(wheel, folder / "small") for wheel in wheels]
        whole_tree, dropped = unpack(wheels, folder / "whole-tree"), folder / "dropped.json"
        manifests = [Manifest.load(Path(f"{wheel}{SUFFIX}")) for wheel in small]
        dropped.write_text(json.dumps([row.path for manifest in manifests for row in manifest.files if row.after is None]))
        print_sizes(manifests)
        whole, slim = environment(folder / "whole", wheels), environment(folder / "slim", small)
        failures = compare_imports(whole, slim) + compare_tests(whole, slim, whole_tree, dropped, folder)
        for python in (whole, slim):
            run([python, PROOF / "use_tokenizers.py"], cwd=folder)
        same = run([whole, PROOF / "use_tokenizers.py"]).output == run([slim, PROOF / "use_tokenizers.py"]).output
        print(f"tokenizers trains, saves and encodes {'the same' if same else 'DIFFERENTLY'}")
    sys.exit(0 if same and not failures else f"{failures} FAILURES")


def optimize(wheel: Path, folder: Path) -> Path:
    """Return the small wheel; the configuration is the default one."""
    run([*MLBUNDLE, "optimize", "-q", "--project", folder.parent, "-o", folder, wheel])
    return folder / wheel.name


def unpack(wheels: list[Path], folder: Path) -> Path:
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def print_sizes(manifests: list[Manifest]) -> None:
    print(row("wheel", "installed MB", "compressed MB", "installed", "compressed", widths=WIDTHS))
    for manifest in manifests:
        before, after = manifest.artifact.before, manifest.artifact.after
        sizes = ((before.installed, after.installed), (before.size, after.size))
        cells = [f"{first / 1e6:.1f} -> {last / 1e6:.1f}" for first, last in sizes]
        cells += [f"{(last - first) / first:+.1%}" for first, last in sizes]
        print(row(manifest.artifact.name.partition("-")[0], *cells, widths=WIDTHS))


def environment(folder: Path, wheels: list[Path]) -> Path:
    """Return the interpreter of a new virtual environment that has these wheels."""
    run([sys.executable, "-m", "venv", folder])
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", *wheels, *NEEDED])
    return python


def compare_imports(whole: Path, slim: Path) -> int:
    """Print how many modules import in both, and return how many no longer do."""
    broken = 0
    for package in WHEELS:
        before, after = (json.loads(run([python, PROOF / "import_all.py", package]).output) for python in (whole, slim))
        lost = [name for name, result in after.items() if result != "ok" and before[name] == "ok"]
        native = sum(result == "ok" for result in after.values())
        print(f"{package}: {native} modules import as before, {len(before) - len(after)} tests are gone, {len(lost)} fail {lost[:5]}")
        broken += len(lost)
    return broken


def compare_tests(whole: Path, slim: Path, tree: Path, dropped: Path, folder: Path) -> int:
    """Print how many of the packages' own tests pass in both, and return how many no longer do."""
    broken = 0
    for suite in SUITES:
        tests = copy_tests(tree, suite, folder / "tests")
        before = passed(whole, tests, folder, {})
        after = passed(slim, tests, folder, {"MLBUNDLE_WHOLE": str(tree), "MLBUNDLE_DROPPED": str(dropped)})
        lost = sorted(before - after)
        print(f"{suite}: {len(before)} tests pass with the whole wheel, {len(lost)} of them fail with the small one {lost[:3]}")
        broken += len(lost)
    return broken


def copy_tests(tree: Path, suite: str, folder: Path) -> Path:
    """Copy tests out of their package, with its conftest.py, so that they import the installed package and nothing of the copy."""
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / suite
    target.parent.mkdir(parents=True)
    package = suite.partition("/")[0]
    conftest = tree / package / "conftest.py"
    if conftest.exists():
        shutil.copy(conftest, folder / package)
    copy = shutil.copytree if (tree / suite).is_dir() else shutil.copy
    copy(tree / suite, target)
    for initializer in folder.rglob("__init__.py"):
        initializer.unlink()
    return target


def passed(python: Path, tests: Path, folder: Path, env: dict[str, str]) -> set[tuple[str, str]]:
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-q", "-p", "no:cacheprovider", "-p", "whole_tests", "--continue-on-collection-errors", "--import-mode=importlib"]
    options += ["-W", "ignore", "-m", "not slow and not xslow", f"--junitxml={report}"]
    command = [python, "-m", "pytest", *options, tests]
    env = {**os.environ, "PYTHONPATH": str(PROOF), **env}
    subprocess.run(command, cwd=tests.parent, env=env, capture_output=True, check=False)
    cases = ElementTree.parse(report).iter("testcase")
    return {(str(case.get("classname")), str(case.get("name"))) for case in cases if not len(case)}


if __name__ == "__main__":
    main()
