"""Setuptools projects that tests build, and the same tree built by hatch."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.elfsmith import compile_elf
from tests.projects import HOOK, build, built_wheel, environment

TABLE = "[tool.mlbundle]\n"
BUILD_SYSTEM = '[build-system]\nrequires = ["setuptools", "{requirement}"]\nbuild-backend = "setuptools.build_meta"\n'
PROJECT = '[project]\nname = "Tiny_App"\nversion = "1.0"\n'
DISCOVERY = '[tool.setuptools]\npackages = ["tiny_app", "tiny_app.tests"]\n[tool.setuptools.package-data]\n"*" = ["*.bin", "*.so"]\n'
SETUP = 'from setuptools import setup\nsetup(packages=["tiny_app", "tiny_app.tests"], package_data={"": ["*.bin", "*.so"]})\n'


def tiny_package(folder: Path, *, native: bool = False) -> Path:
    """Write a package with a test folder and, if asked for, a native library with symbols; return the folder it is in."""
    tests = folder / "tiny_app" / "tests"
    tests.mkdir(parents=True)
    (tests.parent / "__init__.py").write_text("def answer():\n    return 42\n")
    (tests / "__init__.py").write_text("")
    (tests / "test_answer.py").write_text("from tiny_app import answer\n\n\ndef test_answer():\n    assert answer() == 42\n")
    (tests / "noise.bin").write_bytes(bytes(range(256)) * 400)
    if native:
        library = compile_elf(tests.parent / "native.so", "-shared", "-fPIC", "-g")
        library.with_name("native.so.c").unlink()
    return folder


def setuptools_project(
    folder: Path, tables: str = TABLE, *, setup: str = SETUP, native: bool = False, requirement: str = "hatch-mlbundle"
) -> Path:
    """Write a project of the tiny package that setuptools builds, and return its folder."""
    tiny_package(folder, native=native)
    (folder / "pyproject.toml").write_text(BUILD_SYSTEM.format(requirement=requirement) + PROJECT + tables)
    (folder / "setup.py").write_text(setup)
    return folder


_SERVER = """
import json, os, runpy, sys
import setuptools.command.bdist_wheel
import hatch_mlbundle.adapters.setuptools, hatch_mlbundle.adapters.tree_build, hatch_mlbundle.plugins, hatch_mlbundle.reports.terminal

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for number, name in enumerate(("input", "output", "errors")):
        os.dup2(os.open(request[name], os.O_RDWR), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["setup.py", "bdist_wheel", *request["arguments"]]
    if os.path.exists("setup.py"):
        runpy.run_path("setup.py", run_name="__main__")
    else:
        setuptools.setup()
    break
"""


@cache
def _server() -> subprocess.Popen[str]:
    """Start what has imported setuptools and us already and forks for each build: to import them takes longer than to build."""
    command = [sys.executable, "-W", "ignore", "-c", _SERVER]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def bdist_wheel(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the project's `setup.py bdist_wheel`, as a front end does once the environment stands."""
    server = _server()
    assert server.stdin
    assert server.stdout
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        output.touch()
        errors.touch()
        request = {"folder": str(project), "environment": environment(**more), "arguments": arguments}
        print(json.dumps({**request, "input": os.devnull, "output": str(output), "errors": str(errors)}), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())


def wheel_of(project: Path, *arguments: str, **more: str) -> Path:
    """Build the project, which has to work, and return its wheel."""
    result = bdist_wheel(project, *arguments, **more)
    assert result.returncode == 0, result.stdout + result.stderr
    return built_wheel(project)


def manifest_of(wheel: Path) -> Manifest:
    """Return the manifest beside a wheel."""
    return Manifest.load(wheel.with_name(wheel.name + SUFFIX))


def contents(wheel: Path) -> dict[str, bytes]:
    """Return what a wheel holds, by path."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def shipped(wheel: Path) -> dict[str, bytes]:
    """Return what a wheel holds but for dist-info, which every back end writes in its own words."""
    return {path: data for path, data in contents(wheel).items() if ".dist-info/" not in path}


def hatch_wheel(folder: Path, tree: Path, tables: str) -> Path:
    """Return the wheel that hatch, with our hook, builds of everything in the folder `tree`."""
    folder.mkdir()
    include = "".join(f'"{path.as_posix()}" = "{path.relative_to(tree).as_posix()}"\n' for path in sorted(tree.iterdir()))
    pyproject = f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n{PROJECT}{HOOK}{tables}'
    (folder / "pyproject.toml").write_text(f"{pyproject}\n[tool.hatch.build.targets.wheel.force-include]\n{include}")
    result = build(folder)
    assert result.returncode == 0, result.stderr
    return built_wheel(folder)
