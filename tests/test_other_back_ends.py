"""Wheels of back ends that know no hook of ours: built for real, then `mlbundle optimize dist/*.whl`."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from hatch_mlbundle.cli import main
from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import built_wheel, environment

CONFIGURATION = """
[tool.mlbundle]
optimizers = ["test_data", "exclude", "strip"]

[tool.mlbundle.exclude]
paths = ["notes.txt"]
"""
FAST = """\
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, 0}, {0, 0, 0, 0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", 0, -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
PROJECT = '\n[project]\nname = "tiny-app"\nversion = "1.0"\ndescription = "Answers"\nrequires-python = ">=3.10"\n'


@dataclass(frozen=True)
class Builder:
    """A back end: its module, what its pyproject.toml says, files that it needs, and programs without which it cannot build."""

    module: str
    pyproject: str
    files: dict[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()


FLIT = Builder("flit_core", '[build-system]\nrequires = ["flit_core>=3.11"]\nbuild-backend = "flit_core.buildapi"\n' + PROJECT)
POETRY = Builder(
    "poetry.core",
    '[build-system]\nrequires = ["poetry-core>=2"]\nbuild-backend = "poetry.core.masonry.api"\n'
    + PROJECT
    + '\n[tool.poetry]\npackages = [{ include = "tiny_app" }]\n',
)
UV = Builder(
    "uv_build",
    '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
    + PROJECT
    + '\n[tool.uv.build-backend]\nmodule-root = ""\nmodule-name = "tiny_app"\n',
)
SCIKIT_BUILD = Builder(
    "scikit_build_core",
    '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
    + PROJECT
    + '\n[tool.scikit-build]\nwheel.packages = ["tiny_app"]\ncmake.build-type = "Debug"\ninstall.strip = false\n',
    {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.20)\nproject(tiny_app LANGUAGES C)\n"
        "find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)\n"
        "python_add_library(_fast MODULE fast.c WITH_SOABI)\ninstall(TARGETS _fast DESTINATION tiny_app)\n",
        "fast.c": FAST,
    },
    ("gcc", "cmake", "ninja"),
)
MESON = Builder(
    "mesonpy",
    '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n' + PROJECT,
    {
        "meson.build": "project('tiny-app', 'c', version: '1.0')\npy = import('python').find_installation(pure: false)\n"
        "install_subdir('tiny_app', install_dir: py.get_install_dir(pure: false))\n"
        "py.extension_module('_fast', 'fast.c', subdir: 'tiny_app', install: true)\n",
        "fast.c": FAST,
    },
    ("gcc", "ninja"),
)
MATURIN = Builder(
    "maturin",
    '[build-system]\nrequires = ["maturin>=1.7"]\nbuild-backend = "maturin"\n'
    + PROJECT
    + '\n[tool.maturin]\nbindings = "bin"\nstrip = false\n',
    {
        "Cargo.toml": '[package]\nname = "tiny-app"\nversion = "1.0.0"\nedition = "2021"\n[profile.release]\ndebug = 1\n',
        "src/main.rs": 'fn main() {\n    println!("42");\n}\n',
    },
    ("cargo",),
)


def wheel_of(builder: Builder, folder: Path) -> Path:
    """Build a project with a back end, as `python -m build` does once the environment stands; skip where something is missing."""
    missing = [each for each in builder.programs if not shutil.which(each)]
    if missing or not importlib.util.find_spec(builder.module.partition(".")[0]):
        pytest.skip(f"not there: {', '.join(missing) or builder.module}")
    files = {
        "pyproject.toml": builder.pyproject + CONFIGURATION,
        "tiny_app/__init__.py": '"""Answers."""\n\n\ndef answer():\n    return 42\n',
        "tiny_app/notes.txt": "nobody reads this\n" * 100,
        "tiny_app/tests/__init__.py": "",
        "tiny_app/tests/test_answer.py": "from tiny_app import answer\n\n\ndef test_answer():\n    assert answer() == 42\n",
        **builder.files,
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return built_wheel(folder)


def installed(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a folder, as pip does it: with every hash in RECORD checked."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--target", str(folder), str(wheel)]
    subprocess.run(command, env=environment(), capture_output=True, check=True, timeout=300)
    return folder


def answers(folder: Path, module: str = "tiny_app") -> str:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); import {module} as it; print(it.answer())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def shrunk(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Run the one-line step in the project's folder; return its manifest, and see that nothing but the step's part changed."""
    before = ZipFile(wheel).namelist()
    monkeypatch.chdir(folder)
    assert main(["optimize", *map(str, Path().glob("dist/*.whl"))]) == 0
    assert [path.name for path in (folder / "dist").glob("*.whl")] == [wheel.name]
    after = ZipFile(wheel).namelist()
    gone = set(before) - set(after)
    assert not {"tiny_app/notes.txt", "tiny_app/tests/test_answer.py"} & set(after)
    assert [path for path in gone if not path.startswith("tiny_app/") and not path.endswith("/")] == []
    return Manifest.load(wheel.with_name(wheel.name + SUFFIX))


@pytest.mark.parametrize("builder", [FLIT, POETRY, UV], ids=lambda each: each.module)
def test_pure_python(builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of(builder, tmp_path / "project")
    manifest = shrunk(wheel, tmp_path / "project", monkeypatch)
    assert manifest.artifact.after.size < manifest.artifact.before.size
    folder = installed(wheel, tmp_path / "installed")
    assert answers(folder) == "42\n"
    (found,) = folder.glob("*.dist-info")
    assert distribution("pip").at(found).version == "1.0"


@pytest.mark.slow
@pytest.mark.parametrize("builder", [SCIKIT_BUILD, MESON], ids=lambda each: each.module)
def test_with_an_extension_module(builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of(builder, tmp_path / "project")
    manifest = shrunk(wheel, tmp_path / "project", monkeypatch)
    (library,) = (row for row in manifest.files if row.kind == "elf")
    assert library.before and library.after  # noqa: PT018 - for mypy
    assert library.after.size < library.before.size, "strip has found nothing to do"
    assert answers(installed(wheel, tmp_path / "installed"), "tiny_app._fast") == "42\n"


@pytest.mark.slow
def test_with_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of(MATURIN, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    assert main(["optimize", str(wheel)]) == 0
    manifest = Manifest.load(wheel.with_name(wheel.name + SUFFIX))
    assert manifest.artifact.after.installed < manifest.artifact.before.installed
    program = installed(wheel, tmp_path / "installed") / "bin/tiny-app"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "42\n"


def test_the_configuration_of_another_project_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_of(FLIT, tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["optimize", str(wheel), "-o", "plain"]) == 0
    assert main(["optimize", str(wheel), "-o", "small", "--project", "../project"]) == 0
    assert "tiny_app/notes.txt" in ZipFile(Path("plain", wheel.name)).namelist()
    assert "tiny_app/notes.txt" not in ZipFile(Path("small", wheel.name)).namelist()
