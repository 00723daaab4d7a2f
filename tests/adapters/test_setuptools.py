"""`bdist_wheel` with our entry point, as setuptools runs it on real projects."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest
from installer.sources import WheelFile
from packaging.utils import parse_wheel_filename
from setuptools import Distribution

from hatch_mlbundle.adapters.setuptools import OptimizingWheel, install
from hatch_mlbundle.beside import REPORTS
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.crash import TERMINATED
from hatch_mlbundle.manifest import SUFFIX
from hatch_mlbundle.setuptools_entry import has_table
from tests.projects import REPOSITORY, built_wheel, environment
from tests.setuptoolsmith import (
    BUILD_SYSTEM,
    DISCOVERY,
    PROJECT,
    SETUP,
    TABLE,
    bdist_wheel,
    contents,
    hatch_wheel,
    manifest_of,
    setuptools_project,
    shipped,
    tiny_package,
    wheel_of,
)

SETUP_PY = [sys.executable, "-W", "ignore", "setup.py"]
COMPILER = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc")[0]
needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"no C compiler: {COMPILER} is not on PATH")

EVERYTHING = """\
from setuptools import Extension, setup

setup(
    packages=["tiny_app", "tiny_app.tests"],
    package_data={"": ["*.bin"]},
    ext_modules=[Extension("tiny_app._fast", ["fast.c"], py_limited_api=True, extra_compile_args=["-g"])],
    headers=["fast.h"],
    scripts=["bin/tiny"],
    data_files=[("share/tiny", ["notes.txt"])],
    license_files=["LICENSE.txt"],
)
"""
FAST = """\
#define Py_LIMITED_API 0x030a0000
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
OTHERS = """\
from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Others(bdist_wheel):
{body}


setup(packages=["tiny_app", "tiny_app.tests"], package_data={{"": ["*.bin"]}}, cmdclass={{"bdist_wheel": Others}})
"""
RETAGGED = """\
    def get_tag(self):
        return "py3", "none", "manylinux_2_17_x86_64"

    def write_wheelfile(self, base, *rest, **more):
        super().write_wheelfile(base, *rest, **more)
        with open(self.bdist_dir + "/tiny_app/late.txt", "w") as file:
            file.write("late")
"""
RENAMED = """\
    def run(self):
        import os

        super().run()
        os.rename(self.dist_dir + "/tiny_app-1.0-py3-none-any.whl", self.dist_dir + "/tiny_app-1.0-py2.py3-none-any.whl")
"""
CHANGED = """\
    def run(self):
        import glob, subprocess, sys

        super().run()
        (wheel,) = glob.glob(self.dist_dir + "/*.whl")
        command = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", "linux_x86_64", wheel]
        subprocess.run(command, check=True, capture_output=True)
        open(self.dist_dir + "/notes.txt", "w").close()
"""
DOWNLOADED = """\
    def run(self):
        import os, shutil

        os.makedirs(self.dist_dir, exist_ok=True)
        shutil.copy("tiny_app-1.0-py3-none-any.whl", self.dist_dir)
"""
NOTHING = """\
    def run(self):
        pass
"""


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a project with everything that a wheel can hold, and return its folder."""
    project = setuptools_project(tmp_path_factory.mktemp("full"), TABLE + 'reports = ["html"]\n', setup=EVERYTHING)
    (project / "fast.c").write_text(FAST)
    (project / "fast.h").write_text("/* fast */\n")
    (project / "notes.txt").write_text("notes\n")
    (project / "LICENSE.txt").write_text("MIT\n")
    (project / "bin").mkdir()
    (project / "bin" / "tiny").write_text("#!/usr/bin/env python\nimport tiny_app\nprint(tiny_app.answer())\n")
    (project / "bin" / "tiny").chmod(0o755)
    wheel_of(project, "--build-number=7", "--py-limited-api=cp310")
    return project


@pytest.fixture(scope="session")
def plain_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of a project without the table."""
    return wheel_of(setuptools_project(tmp_path_factory.mktemp("plain"), ""))


def complaints(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return our lines on standard error; setuptools has some of its own there."""
    assert "Traceback" not in result.stderr
    return [line for line in result.stderr.splitlines() if line.startswith("mlbundle: ")]


@needs_compiler
def test_everything_that_a_wheel_can_hold(full: Path) -> None:
    wheel = built_wheel(full)
    _, _, build_tag, tags = parse_wheel_filename(wheel.name)
    assert build_tag == (7, "")
    assert {(tag.interpreter, tag.abi) for tag in tags} == {("cp310", "abi3")}
    with WheelFile.open(wheel) as source:
        source.validate_record()
    paths = contents(wheel)
    data, info = "tiny_app-1.0-7.data", "tiny_app-1.0.dist-info"
    assert {f"{data}/headers/fast.h", f"{data}/scripts/tiny", f"{data}/data/share/tiny/notes.txt"} <= paths.keys()
    assert f"{info}/licenses/LICENSE.txt" in paths
    assert list(paths)[-1] == f"{info}/RECORD"
    assert [path for path in paths if "tests" in path] == []
    assert b"Build: 7" in paths[f"{info}/WHEEL"]
    assert next(iter(tags)).platform.encode() in paths[f"{info}/WHEEL"]


@needs_compiler
def test_scripts_stay_executable_and_nothing_else_is(full: Path) -> None:
    with zipfile.ZipFile(built_wheel(full)) as archive:
        modes = {member.filename: member.external_attr >> 16 & 0o777 for member in archive.infolist()}
    assert {path for path, mode in modes.items() if mode == 0o755} == {path for path in modes if path.endswith((".so", "/tiny"))}
    assert {mode for path, mode in modes.items() if not path.endswith((".so", "/tiny"))} == {0o644}


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the extension is read as an ELF file")
def test_the_extension_is_stripped_and_works(full: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built_wheel(full)) as archive:
        archive.extractall(tmp_path)
    (extension,) = (tmp_path / "tiny_app").glob("_fast*.so")
    with Reader(extension) as reader:
        assert ".debug_info" not in {section.name for section in read_elf(reader).sections}
    code = "from tiny_app._fast import answer; print(answer())"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "42\n"


@needs_compiler
def test_manifest_and_report_lie_beside_the_wheel_and_nothing_is_left_on_the_way(full: Path) -> None:
    wheel = built_wheel(full)
    manifest = manifest_of(wheel)
    assert manifest.artifact.name == wheel.name
    assert manifest.artifact.after.size == wheel.stat().st_size < manifest.artifact.before.size
    assert {step.optimizer for step in manifest.steps if step.changes} == {"test_data", "strip"}
    assert sorted(path.name for path in wheel.parent.iterdir()) == [wheel.name, wheel.name + REPORTS["html"], wheel.name + SUFFIX]
    (base,) = (full / "build").glob("bdist.*")
    assert list(base.iterdir()) == []


def test_summary_and_what_is_found_fit_80_columns(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path, TABLE + '[tool.mlbundle.exclude]\npaths = ["no-such-file"]\n')
    result = bdist_wheel(project)
    assert result.returncode == 0
    told = result.stdout[result.stdout.index("step  ") :].splitlines()
    name = built_wheel(project).name
    assert told[-1] == f"manifest: dist/{name}{SUFFIX}"
    assert max(len(line) for line in told[:-1]) <= 80
    assert any("MB303" in line for line in told)
    assert complaints(result) == []


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder with the tiny package and a native library in it, and the wheel that hatch builds of that."""
    folder = tmp_path_factory.mktemp("twin")
    tree = tiny_package(folder / "tree", native=True)
    return tree, hatch_wheel(folder / "hatch", tree, TABLE)


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("gcc"), reason="a native library is compiled")
@pytest.mark.parametrize("kind", ["pyproject.toml", "setup.cfg", "setup.py"])
def test_what_ships_is_what_hatch_ships_byte_for_byte(tmp_path: Path, twin: tuple[Path, Path], kind: str) -> None:
    tree, hatchs = twin
    project = shutil.copytree(tree, tmp_path / "project")
    metadata = {"pyproject.toml": PROJECT + DISCOVERY}.get(kind, "")
    (project / "pyproject.toml").write_text(BUILD_SYSTEM.format(requirement="hatch-mlbundle") + metadata + TABLE)
    if kind == "setup.cfg":
        options = "[options]\npackages =\n  tiny_app\n  tiny_app.tests\n[options.package_data]\n* = *.bin, *.so\n"
        (project / "setup.cfg").write_text("[metadata]\nname = Tiny_App\nversion = 1.0\n" + options)
    elif kind == "setup.py":
        (project / "setup.py").write_text(SETUP.replace("setup(", 'setup(name="Tiny_App", version="1.0", '))
    wheel = wheel_of(project)
    assert shipped(wheel) == shipped(hatchs)
    assert shipped(wheel).keys() == {"tiny_app/__init__.py", "tiny_app/native.so"}
    assert len(shipped(wheel)["tiny_app/native.so"]) < (project / "tiny_app" / "native.so").stat().st_size
    done, twins = ([(step.optimizer, step.changes) for step in manifest_of(each).steps] for each in (wheel, hatchs))
    assert done == twins


def test_later_commands_find_the_wheel_where_it_was_to_be(tmp_path: Path) -> None:
    told = "\nprint('told', [row[2] for row in dist.dist_files], dist.get_command_obj('bdist_wheel').dist_dir)\n"
    project = setuptools_project(tmp_path, setup=SETUP.replace("setup(", "dist = setup(") + told)
    result = bdist_wheel(project, "--dist-dir=out/wheels")
    assert result.stdout.splitlines()[-1] == "told ['out/wheels/tiny_app-1.0-py3-none-any.whl'] out/wheels"


@pytest.mark.parametrize("folder", ["out/.tmp-a1b2c3_9", "out/tmpa1b2c3_9"])
def test_what_lies_beside_the_wheel_outlives_the_folder_that_build_meta_makes_in_the_one_it_was_given(tmp_path: Path, folder: str) -> None:
    project = setuptools_project(tmp_path, setup="import setuptools.build_meta\n" + SETUP)
    (project / folder).mkdir(parents=True)
    result = bdist_wheel(project, f"--dist-dir={folder}")
    (wheel,) = (project / folder).iterdir()
    assert result.stdout.splitlines()[-1] == f"manifest: out/{wheel.name}{SUFFIX}"
    assert (project / "out" / f"{wheel.name}{SUFFIX}").is_file()


def test_a_package_of_our_name_where_bdist_works_stays(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path)
    package = tiny_package(project / "mlbundle")
    (project / "setup.cfg").write_text("[bdist]\nbdist_base = .\n")
    wheel_of(project)
    assert (package / "tiny_app" / "__init__.py").is_file()


def test_a_folder_that_is_only_called_like_build_metas_is_the_one_asked_for(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path)
    bdist_wheel(project, "--dist-dir=out/tmpa1b2c3_9")
    assert [path.name for path in (project / "out").iterdir()] == ["tmpa1b2c3_9"]
    assert len(list((project / "out" / "tmpa1b2c3_9").iterdir())) == 2


def test_commands_that_build_no_wheel_import_none_of_the_work(tmp_path: Path) -> None:
    ours = "\nimport sys\nprint('ours', sum(name.startswith('hatch_mlbundle') for name in sys.modules), 'rich' in sys.modules)\n"
    project = setuptools_project(tmp_path, setup=SETUP + ours)
    result = subprocess.run([*SETUP_PY, "-q", "egg_info"], cwd=project, env=environment(), capture_output=True, text=True, check=True)
    count, rich = result.stdout.splitlines()[-1].removeprefix("ours ").split()
    assert 2 < int(count) < 20
    assert rich == "False"


def test_a_project_without_the_table_is_left_alone_and_imports_nothing_of_ours(tmp_path: Path) -> None:
    ours = "\nimport sys\nprint('ours', sorted(name for name in sys.modules if name.startswith('hatch_mlbundle')))\n"
    project = setuptools_project(tmp_path, "[tool.other]\nneeds = 'mlbundle'\n", setup=SETUP + ours)
    result = subprocess.run([*SETUP_PY, "bdist_wheel"], cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "ours ['hatch_mlbundle', 'hatch_mlbundle.setuptools_entry']" in result.stdout.splitlines()
    assert [path.name for path in (project / "dist").iterdir()] == ["tiny_app-1.0-py3-none-any.whl"]
    assert any("tests" in path for path in contents(built_wheel(project)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[tool.mlbundle]\n", True),
        ("[tool.mlbundle.strip]\n", True),
        ("[tool]\nmlbundle = 1\n", True),
        ("[tool.hatch.build.hooks.mlbundle]\n", False),
        ("tool = 'mlbundle'\n", False),
        ("[tool.mlbundle\n", False),
        ("# mlbundle \xff", False),
        (None, False),
    ],
)
def test_the_look_for_the_table(tmp_path: Path, text: str | None, found: bool) -> None:
    path = tmp_path / "pyproject.toml"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    assert has_table(path) is found


def test_the_class_is_put_in_front_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dist = Distribution({"name": "tiny", "version": "1"})
    install(dist)
    command = dist.cmdclass["bdist_wheel"]
    install(dist)
    assert dist.cmdclass["bdist_wheel"] is command
    assert issubclass(command, OptimizingWheel)
    assert command.user_options == dist.get_command_class("bdist_wheel").user_options


def test_an_editable_wheel_stays_as_setuptools_makes_it(tmp_path: Path) -> None:
    projects = [setuptools_project(tmp_path / name, tables) for name, tables in (("plain", ""), ("ours", TABLE))]
    build = "import os, sys, setuptools.build_meta as backend\nfor folder in sys.argv[1:]: os.chdir(folder); backend.build_editable('dist')"
    command = [sys.executable, "-W", "ignore", "-c", build, *map(str, projects)]
    subprocess.run(command, env=environment(), capture_output=True, check=True)
    assert [path.suffix for project in projects for path in (project / "dist").iterdir()] == [".whl", ".whl"]
    wheels = [contents(built_wheel(project)) for project in projects]
    assert wheels[0].keys() == wheels[1].keys()
    assert any(path.endswith((".pth", "finder.py")) for path in wheels[1])


def test_all_faults_of_the_configuration_before_anything_is_built(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path, TABLE + "optimisers = []\n[tool.mlbundle.strip]\nlod-check = true\n")
    result = bdist_wheel(project)
    assert result.returncode == 2
    assert complaints(result) == [
        "mlbundle: tool.mlbundle.optimisers: unknown key or optimizer; did you mean 'optimizers'?",
        "mlbundle: tool.mlbundle.strip.lod-check: unknown key; did you mean 'load-check'? (nothing was built)",
    ]
    assert not (project / "build").exists()


@pytest.mark.parametrize(
    ("tables", "epoch", "message"),
    [
        ("[tool]\nmlbundle = 1\n", "", "tool.mlbundle: must be a table"),
        ('[tool.mlbundle.strip]\ntool = "elfutils"\n', "", "eu-strip"),
        (TABLE, "yesterday", "SOURCE_DATE_EPOCH is 'yesterday'"),
    ],
)
def test_what_cannot_work_is_one_line_before_anything_is_built(tmp_path: Path, tables: str, epoch: str, message: str) -> None:
    project = setuptools_project(tmp_path, tables)
    result = bdist_wheel(project, PATH=str(tmp_path), SOURCE_DATE_EPOCH=epoch)
    assert result.returncode == 2
    (line,) = complaints(result)
    assert message in line
    assert not (project / "build").exists()


def test_a_breach_of_the_budget_replaces_nothing_and_leaves_no_tree(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path)
    wheel = wheel_of(project)
    before = {path: path.read_bytes() for path in wheel.parent.iterdir()}
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(f"{text}[tool.mlbundle.budget]\ninstalled = 100\n")
    result = bdist_wheel(project)
    assert result.returncode == 1
    (line,) = complaints(result)
    assert re.match(r"mlbundle: budget: installed is .* over the 100 B allowed", line)
    assert line.endswith("(no wheel was built)")
    assert {path: path.read_bytes() for path in wheel.parent.iterdir()} == before
    (base,) = (project / "build").glob("bdist.*")
    assert list(base.iterdir()) == []


def test_a_kept_tree_holds_what_the_wheel_holds_and_spoils_no_later_build(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path, native=shutil.which("gcc") is not None)
    wheel = wheel_of(project, "--keep-temp")
    first = wheel.read_bytes(), manifest_of(wheel)
    (tree,) = (project / "build").glob("bdist.*/wheel")
    kept = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert kept == {path: data for path, data in contents(wheel).items() if not path.endswith("/RECORD")}
    assert (wheel_of(project, "--keep-temp").read_bytes(), manifest_of(wheel)) == first


def test_nothing_to_do_is_accounted_for(tmp_path: Path, plain_wheel: Path) -> None:
    wheel = wheel_of(setuptools_project(tmp_path, TABLE + "optimizers = []\n"))
    manifest = manifest_of(wheel)
    assert manifest.artifact.before == manifest.artifact.after
    assert manifest.artifact.after.size == wheel.stat().st_size
    assert contents(wheel).keys() == contents(plain_wheel).keys()
    assert shipped(wheel) == shipped(plain_wheel)


def test_same_bytes_in_varied_surroundings(tmp_path: Path) -> None:
    results = []
    for name, umask, moment, more in (
        ("a", 0o022, 1.7e9, {"TZ": "UTC", "PYTHONHASHSEED": "1", "LC_ALL": "C"}),
        (
            "ä b",
            0o077,
            1.6e9,
            {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "MLBUNDLE_CACHE_DIR": str(tmp_path / "own")},
        ),
    ):
        project = setuptools_project(tmp_path / name)
        for path in project.rglob("*"):
            os.utime(path, (moment, moment))
        command = (
            f"import os, sys; os.umask({umask}); os.execv(sys.executable, [sys.executable, '-W', 'ignore', 'setup.py', 'bdist_wheel'])"
        )
        subprocess.run([sys.executable, "-c", command], cwd=project, env=environment(**more), check=True, capture_output=True)
        wheel = built_wheel(project)
        results.append((wheel.read_bytes(), wheel.with_name(wheel.name + SUFFIX).read_bytes()))
    assert results[0] == results[1]


def test_what_the_projects_own_command_does_to_tags_and_tree_counts(tmp_path: Path) -> None:
    wheel = wheel_of(setuptools_project(tmp_path, setup=OTHERS.format(body=RETAGGED)))
    assert wheel.name == "tiny_app-1.0-py3-none-manylinux_2_17_x86_64.whl"
    assert shipped(wheel)["tiny_app/late.txt"] == b"late"
    assert [path for path in contents(wheel) if "tests" in path] == []
    assert manifest_of(wheel).findings == ()


def test_a_wheel_that_its_own_command_renames_keeps_its_new_name(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path, setup=OTHERS.format(body=RENAMED))
    wheel = wheel_of(project)
    assert {path.name for path in wheel.parent.iterdir()} == {wheel.name, wheel.name + SUFFIX}
    manifest = manifest_of(wheel)
    assert manifest.artifact.name == wheel.name == "tiny_app-1.0-py2.py3-none-any.whl"
    assert manifest.artifact.after.size < manifest.artifact.before.size
    assert [path for path in contents(wheel) if "tests" in path] == []


def test_a_wheel_that_its_own_command_changes_afterwards_stays_changed(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path, setup=OTHERS.format(body=CHANGED))
    wheel = wheel_of(project)
    assert wheel.name == "tiny_app-1.0-py3-none-linux_x86_64.whl"
    assert b"Tag: py3-none-linux_x86_64" in contents(wheel)["tiny_app-1.0.dist-info/WHEEL"]
    assert [finding.code for finding in manifest_of(wheel).findings] == ["MB003"]
    assert {path.name for path in wheel.parent.iterdir()} == {wheel.name, wheel.name + SUFFIX, "notes.txt"}


def test_a_wheel_that_was_downloaded_instead_is_optimized_as_it_is(tmp_path: Path, plain_wheel: Path) -> None:
    project = setuptools_project(tmp_path, setup=OTHERS.format(body=DOWNLOADED))
    shutil.copy(plain_wheel, project)
    wheel = wheel_of(project)
    assert [finding.code for finding in manifest_of(wheel).findings] == ["MB003"]
    assert [path for path in contents(wheel) if "tests" in path] == []


def test_a_command_that_makes_no_wheel_is_told_so(tmp_path: Path) -> None:
    result = bdist_wheel(setuptools_project(tmp_path, setup=OTHERS.format(body=NOTHING)))
    assert result.returncode == 0
    (line,) = complaints(result)
    assert "made no wheel" in line


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals end it")
def test_termination_while_it_is_verified_leaves_what_was_there(tmp_path: Path) -> None:
    verify = '[[tool.mlbundle.verify.commands]]\nrun = ["sh", "-c", "touch {0}; exec sleep 60"]\ntimeout = 70\n'
    project = setuptools_project(tmp_path / "project", TABLE + verify.format(tmp_path / "waits"))
    former = project / "dist" / "tiny_app-1.0-py3-none-any.whl"
    former.parent.mkdir()
    former.write_bytes(b"from before")
    with subprocess.Popen(
        [*SETUP_PY, "bdist_wheel"], cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "waits").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == TERMINATED, output
    assert [path.read_bytes() for path in former.parent.iterdir()] == [b"from before"]
    (base,) = (project / "build").glob("bdist.*")
    assert list(base.iterdir()) == []


def test_a_front_end_finds_wheel_and_manifest_in_the_folder_that_it_named(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path)
    command = [sys.executable, "-W", "ignore", "-m", "build", "--wheel", "--no-isolation", "--outdir", "out"]
    result = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = (project / "out").glob("*.whl")
    assert manifest_of(wheel).artifact.after.size == wheel.stat().st_size
    assert {path.name for path in (project / "out").iterdir()} == {wheel.name, wheel.name + SUFFIX}


@pytest.mark.slow
@pytest.mark.parametrize("command", [["uv", "build", "--wheel"], ["pip", "wheel", "--no-build-isolation", "--no-deps", "-w", "dist", "."]])
def test_other_front_ends(tmp_path: Path, command: list[str]) -> None:
    project = setuptools_project(tmp_path, requirement=f"hatch-mlbundle @ {REPOSITORY.as_uri()}")
    run = [sys.executable, "-m", *command]
    result = subprocess.run(run, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    wheel = built_wheel(project)
    assert [path for path in contents(wheel) if "tests" in path] == []
    if command[0] == "uv":  # pip carries only the wheel away
        assert manifest_of(wheel).artifact.kind == "wheel"
