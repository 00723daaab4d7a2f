"""Small real projects that tests build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

_PYPROJECT = """\
[build-system]
requires = ["hatchling", "{requirement}"]
build-backend = "hatchling.build"

[project]
name = "Tiny_App"
version = "1.0"

[tool.hatch.build.targets.wheel]
packages = ["tiny_app"]
{tables}
"""
_FROZEN = """\
[build-system]
requires = ["hatchling", "{requirement}"]
build-backend = "hatchling.build"

[project]
name = "Tiny_App"
version = "1.0"
{project}

[tool.hatch.build.targets.frozen]
{options}
"""
_MAIN = """\
import pathlib
import sys


def main():
    print("heard", *sys.argv[1:])
    return 3 if "fail" in sys.argv else None


def data():
    folder = pathlib.Path(__file__).parent
    print((folder / "words.txt").read_text(), *sorted(path.name for path in (folder.parent / "assets").iterdir()))


def wait():
    print("waiting", flush=True)
    sys.stdin.read()
"""
HOOK = "[tool.hatch.build.targets.wheel.hooks.mlbundle]\n"


def tiny_project(folder: Path, tables: str = HOOK, requirement: str = "hatch-mlbundle") -> Path:
    """Write a project whose package has a test folder and a model, and return its folder."""
    package = folder / "tiny_app"
    (package / "tests" / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("def answer():\n    return 42\n")
    (package / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (package / "tests" / "__init__.py").write_text("")
    (package / "tests" / "test_answer.py").write_text("from tiny_app import answer\n\n\ndef test_answer():\n    assert answer() == 42\n")
    (package / "tests" / "data" / "noise.bin").write_bytes(bytes(range(256)) * 400)
    (folder / "pyproject.toml").write_text(_PYPROJECT.format(tables=tables, requirement=requirement))
    return folder


def frozen_project(folder: Path, options: str, project: str = "", requirement: str = "hatch-mlbundle[frozen]") -> Path:
    """Write a project whose package, below `src`, has functions to freeze and a data file, and return its folder."""
    package = folder / "src" / "tiny_app"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(_MAIN)
    (package / "words.txt").write_text("some words")
    (folder / "pyproject.toml").write_text(_FROZEN.format(options=options, project=project, requirement=requirement))
    return folder


def environment(**more: str) -> dict[str, str]:
    """Return a build's environment: this one, without colours, with a cache of its own unless `more` gives another."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("HATCH_", "FORCE_COLOR", "SOURCE_DATE"))}
    return {**plain, "NO_COLOR": "1", **more}


def build(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Build with hatchling itself in this environment, as a front end does once the environment stands."""
    command = [sys.executable, "-m", "hatchling", "build", *(arguments or ("-t", "wheel"))]
    return subprocess.run(command, cwd=project, env=environment(**more), capture_output=True, text=True, check=False)


def built_wheel(project: Path) -> Path:
    """Return the one wheel in the project's `dist`."""
    (wheel,) = (project / "dist").glob("*.whl")
    return wheel
