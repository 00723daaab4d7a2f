"""Projects whose extensions mypyc and cargo compile: what setuptools ships of them is what hatch would ship.

The one that Cython compiles is examples/setuptools-cython.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.adapters.test_setuptools import COMPILER, needs_compiler
from tests.projects import environment
from tests.setuptoolsmith import BUILD_SYSTEM, DISCOVERY, PROJECT, TABLE, hatch_wheel, manifest_of, shipped, tiny_package, wheel_of

CARGO = shutil.which("cargo", path=os.pathsep.join([os.environ.get("PATH", ""), str(Path.home() / ".cargo" / "bin")]))
RUST = """\
[[tool.setuptools-rust.ext-modules]]
target = "tiny_app._native"
binding = "NoBinding"
args = ["--offline"]
"""
CRATE = '[package]\nname = "native"\nversion = "1.0.0"\nedition = "2021"\n[lib]\ncrate-type = ["cdylib"]\n[profile.release]\ndebug = true\n'

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the extensions are stripped as ELF files")]


def project_of(folder: Path, setup: str, tables: str = "") -> Path:
    project = tiny_package(folder)
    pyproject = BUILD_SYSTEM.format(requirement="hatch-mlbundle") + PROJECT + DISCOVERY
    (project / "pyproject.toml").write_text(pyproject + tables + TABLE)
    (project / "setup.py").write_text(setup)
    return project


def ships_the_same(project: Path, tmp_path: Path, code: str, **more: str) -> None:
    """Build the wheel, compare it with hatch's, and let it print 42."""
    wheel = wheel_of(project, **more)
    (tree,) = (project / "build").glob("lib*")
    assert shipped(wheel) == shipped(hatch_wheel(tmp_path / "twin", tree, TABLE))
    assert {step.optimizer for step in manifest_of(wheel).steps if step.changes} >= {"test_data", "strip"}
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    run = subprocess.run([sys.executable, "-c", code], cwd=installed, env=environment(), capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("42\n", "")


@needs_compiler
def test_mypyc(tmp_path: Path) -> None:
    pytest.importorskip("mypyc")
    build = 'mypycify(["tiny_app/hot.py"], opt_level="0", debug_level="1")'
    project = project_of(
        tmp_path / "project", f"from mypyc.build import mypycify\nfrom setuptools import setup\nsetup(ext_modules={build})\n"
    )
    (project / "tiny_app" / "hot.py").write_text("def answer() -> int:\n    return sum(range(9)) + 6\n")
    code = "from tiny_app import hot; assert hot.__file__.endswith('.so'); print(hot.answer())"
    ships_the_same(project, tmp_path, code)


@pytest.mark.skipif(CARGO is None, reason="there is no cargo")
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="cargo links with the C compiler")
def test_setuptools_rust(tmp_path: Path) -> None:
    pytest.importorskip("setuptools_rust")
    project = project_of(tmp_path / "project", "from setuptools import setup\nsetup()\n", RUST)
    (project / "Cargo.toml").write_text(CRATE)
    (project / "src").mkdir()
    (project / "src" / "lib.rs").write_text('#[no_mangle]\npub extern "C" fn answer() -> i32 {\n    "forty-two".len() as i32 + 33\n}\n')
    code = "import ctypes, glob; print(ctypes.CDLL(glob.glob('tiny_app/_native*.so')[0]).answer())"
    path = os.pathsep.join([str(Path(str(CARGO)).parent), os.environ["PATH"]])
    ships_the_same(project, tmp_path, code, PATH=path)
