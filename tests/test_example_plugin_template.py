"""The template of a plugin: copied, renamed and used as its README says, its own tests run from an installed copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.testing import wheel_from
from tests.projects import REPOSITORY, environment

TEMPLATE = REPOSITORY / "examples" / "plugin-template"
NOTEBOOK = '{"cells": [{"cell_type": "code", "metadata": {}, "source": [], "outputs": ["%s"]}], "metadata": {}, "nbformat": 4}' % (
    "x" * 5000
)


def commands(readme: Path, name: str) -> str:
    """Return the block of commands that the README marks with this name."""
    (block,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    return str(block)


def fresh_environment(folder: Path) -> dict[str, str]:
    """Make an environment that has our dependencies but none of us, install hatch-mlbundle into it, and return its variables.

    Programs that work on what is installed are started by its Python.
    """
    venv.create(folder, with_pip=False)
    programs, libraries = folder / "bin", sysconfig.get_path("purelib", vars={"base": str(folder)})
    Path(libraries, "dependencies.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name in ("pip", "pytest", "mypy"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{programs}/python" -m {name} "$@"\n')
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = environment(
        PATH=path,
        PIP_NO_INDEX="1",
        PIP_NO_BUILD_ISOLATION="0",
        PIP_QUIET="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        MLBUNDLE_CACHE_DIR=str(folder / "cache"),
    )
    variables.pop("PYTHONPATH", None)
    shell(f"pip install --no-deps --ignore-installed {REPOSITORY}", folder, variables)
    return variables


def shell(script: str, folder: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(["sh", "-eu", "-c", script], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="its README's commands are for sh")
def test_a_copy_is_renamed_checked_and_used(tmp_path: Path) -> None:
    variables = fresh_environment(tmp_path / "venv")
    shutil.copytree(TEMPLATE, tmp_path / "plugin-template", ignore=shutil.ignore_patterns(".*_cache", "__pycache__"))
    readme = tmp_path / "plugin-template" / "README.md"
    rename, check, use = (commands(readme, name) for name in ("rename", "check", "use"))
    shell(rename, tmp_path, variables)
    copy = tmp_path / "mlbundle-source-maps"
    assert not [path for path in copy.rglob("*") if "notebook_outputs" in path.name or path.name == "rename.py"]
    assert "otebook_outputs" not in (copy / "src" / "mlbundle_source_maps" / "source_maps.py").read_text()
    said = shell(check.replace("pip install -e", "pip install"), copy, variables)  # so that the tests see the installed copy
    assert "Success: no issues found" in said
    assert re.search(r"\d+ passed", said)
    where = shell(
        'python -c "import mlbundle_source_maps, hatch_mlbundle as m; print(mlbundle_source_maps.__file__, m.__file__)"', copy, variables
    )
    assert [path.startswith(str(tmp_path / "venv")) for path in where.split()] == [True, True]
    used = tmp_path / "used"
    wheel_from(used, {"pkg/plot.ipynb": NOTEBOOK, "pkg/__init__.py": ""})
    (used / "pyproject.toml").write_text('[tool.mlbundle]\noptimizers = ["source_maps"]\n')
    assert "source_maps" in shell(use, used, variables)
    manifest = Manifest.load(used / "example-1.0-py3-none-any.whl.mlbundle.json")
    assert [(step.optimizer, step.distribution) for step in manifest.steps] == [("source_maps", "mlbundle-source-maps")]
    assert manifest.artifact.after.installed < manifest.artifact.before.installed / 5
