"""The commands of docs/cibuildwheel.md, read by cibuildwheel itself and run as it runs them, on a real wheel with a foreign library."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.manifest import Manifest
from tests.adapters.test_setuptools import needs_compiler
from tests.elfsmith import compile_elf, readelf
from tests.projects import REPOSITORY, environment
from tests.setuptoolsmith import BUILD_SYSTEM, PROJECT, tiny_package, wheel_of

pytest.importorskip("cibuildwheel")
pytest.importorskip("auditwheel")

from cibuildwheel.options import CommandLineArguments, compute_options
from cibuildwheel.util.helpers import prepare_command

DOCUMENT = (REPOSITORY / "docs" / "cibuildwheel.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```toml\n(.*?)```", DOCUMENT, flags=re.DOTALL)
FUNCTIONS = "\n".join(f"int f{number}(int a) {{ for (int i = 0; i < a; i++) a += i * {number}; return a; }}" for number in range(400))
EXTENSION = """\
#include <Python.h>
int greet(void);
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(greet()); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
EXTENSIONS = """\
[tool.setuptools]
packages = ["tiny_app", "tiny_app.tests"]
ext-modules = [{{name = "tiny_app._fast", sources = ["fast.c"], libraries = ["greet"], library-dirs = ["{folder}"]}}]
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux"),
    pytest.mark.skipif(not shutil.which("patchelf"), reason="auditwheel needs patchelf"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write a project whose extension needs a library that is installed nowhere, with the documented tables."""
    folder = tmp_path_factory.mktemp("cibuildwheel")
    library = compile_elf(folder / "libgreet.so.1", "-Wl,-soname,libgreet.so.1", source=f"{FUNCTIONS}\nint greet(void) {{ return 42; }}\n")
    (folder / "libgreet.so").symlink_to(library.name)
    project = tiny_package(folder / "project")
    (project / "fast.c").write_text(EXTENSION)
    system = BUILD_SYSTEM.format(requirement="hatch-mlbundle")
    (project / "pyproject.toml").write_text(system + PROJECT + EXTENSIONS.format(folder=folder) + SNIPPETS[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)  # where cibuildwheel is run
        yield project


@pytest.fixture(scope="module")
def wheel(project: Path) -> Path:
    """Return the wheel as the build leaves it: the project's own mlbundle has been there, the foreign library has not."""
    return wheel_of(project)


def commands(platform: str = "linux", identifier: str = "cp311-manylinux_x86_64") -> tuple[str, str]:
    """Return what cibuildwheel would run before the build and to repair the wheel."""
    options = compute_options(platform=platform, command_line_arguments=CommandLineArguments.defaults(), env={})
    build = options.build_options(identifier)
    return build.before_build or "", build.repair_command


def repaired(project: Path, wheel: Path, dest: Path, command: str) -> Path:
    """Run a repair command as cibuildwheel does in its container (`build_in_container`), and return the one wheel that comes of it."""
    dest.mkdir()
    prepared = prepare_command(command, wheel=wheel, dest_dir=dest, package=project, project=project)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    surroundings = environment(PATH=path, LD_LIBRARY_PATH=str(project.parent))
    result = subprocess.run(["sh", "-c", prepared], cwd=project, env=surroundings, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (found,) = dest.glob("*.whl")
    return found


def shown(wheel: Path) -> str:
    """Return what `auditwheel show` says of a wheel."""
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def sections(library: Path) -> set[str]:
    with Reader(library) as reader:
        return {section.name for section in read_elf(reader).sections}


@needs_compiler
def test_the_documented_command_repairs_then_optimizes(project: Path, wheel: Path, tmp_path: Path) -> None:
    before, repair = commands()
    assert before == "pip install hatch-mlbundle"
    auditwheel = repair.partition(" && ")[0]
    assert auditwheel == commands_of_cibuildwheel()["linux"]
    assert "libgreet.so.1" in shown(wheel)
    plain = repaired(project, wheel, tmp_path / "plain", auditwheel)
    small = repaired(project, wheel, tmp_path / "small", repair)
    assert small.name == plain.name
    assert shown(small) == shown(plain)
    assert "manylinux" in small.name
    assert small.stat().st_size < plain.stat().st_size
    first, second = (unpacked(each, tmp_path / each.parent.name / "site") for each in (plain, small))
    (grafted,) = (second / "tiny_app.libs").iterdir()
    assert grafted.stat().st_size < (first / "tiny_app.libs" / grafted.name).stat().st_size / 1.5
    assert ".debug_info" in sections(first / "tiny_app.libs" / grafted.name)
    assert ".debug_info" not in sections(grafted)
    (extension,) = (second / "tiny_app").glob("_fast*.so")
    dynamic = readelf(extension, "-d")
    assert f"[{grafted.name}]" in dynamic
    assert "[$ORIGIN/../tiny_app.libs]" in dynamic
    assert (second / "tiny_app-1.0.dist-info" / "WHEEL").read_text() == (first / "tiny_app-1.0.dist-info" / "WHEEL").read_text()
    code = "from tiny_app._fast import answer; print(answer())"
    run = subprocess.run([sys.executable, "-c", code], cwd=second, env=environment(), capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("42\n", "")
    manifest = Manifest.load(small.with_name(f"{small.name}.mlbundle.json"))
    assert {row.path for row in manifest.files} >= {f"tiny_app.libs/{grafted.name}"}


@needs_compiler
def test_in_the_other_order_the_grafted_library_stays_as_it_came(project: Path, wheel: Path, tmp_path: Path) -> None:
    auditwheel, _, mlbundle = commands()[1].partition(" && ")
    early = tmp_path / "early"
    early.mkdir()
    shutil.copy(wheel, early)
    other = f"{mlbundle.replace('{dest_dir}', str(early))} && {auditwheel.replace('{wheel}', f'{early}/*.whl')}"
    late = repaired(project, wheel, tmp_path / "late", other)
    (grafted,) = (unpacked(late, tmp_path / "site") / "tiny_app.libs").iterdir()
    assert ".debug_info" in sections(grafted)


@needs_compiler
def test_the_manifest_comes_out_of_the_container(project: Path, wheel: Path, tmp_path: Path) -> None:
    (line,) = re.findall(r'^  "(.*mv .*)",$', SNIPPETS[1], flags=re.MULTILINE)
    output = tmp_path / "output"
    command = f"{commands()[1]} && {line.replace('/output', str(output))}"  # nothing outside of the test's folder, for once
    small = repaired(project, wheel, tmp_path / "dest", command)
    (manifest,) = output.iterdir()
    assert json.loads(manifest.read_text())["artifact"]["name"] == small.name


def commands_of_cibuildwheel() -> dict[str, str]:
    """Return what cibuildwheel repairs wheels with where nothing else is said."""
    import cibuildwheel

    defaults = (Path(cibuildwheel.__file__).parent / "resources" / "defaults.toml").read_text(encoding="utf-8")
    found = re.findall(r'\[tool\.cibuildwheel\.(\w+)\]\nrepair-wheel-command = "(.*)"', defaults)
    return dict(found)


@pytest.mark.parametrize(("platform", "identifier"), [("macos", "cp311-macosx_arm64"), ("windows", "cp311-win_amd64")])
def test_elsewhere_mlbundle_follows_what_cibuildwheel_runs_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, identifier: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text(SNIPPETS[2])
    own, _, mlbundle = commands(platform, identifier)[1].partition(" && ")
    assert own == commands_of_cibuildwheel()[platform]
    assert "mlbundle optimize --project {package} " in mlbundle
