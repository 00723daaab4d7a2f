"""Applications that PyInstaller froze, verified: modules in their executable, one file, and a clean root."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import FROZEN, project_config
from hatch_mlbundle.application import Result, optimize
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.verification import report
from tests.frozensmith import SAID, frozen_folder, says
from tests.projects import build, frozen_project

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a clean root, and the names of libraries, are Linux's")


def verified(folder: Path, app: Path, excluded: list[str], **verify: Any) -> Result:
    """Optimize the application without some files, verified by what it prints."""
    registry = load_registry()
    commands = [{"name": "app", "run": ["{bundle}/app"]}]
    settings = {"optimizers": ["exclude"], "exclude": {"paths": excluded}, "verify": {"commands": commands, **verify}}
    config = project_config(folder, registry, settings, FROZEN)
    return optimize(prepare(config, registry, project=folder), app, folder / "small")


def put_back(result: Result) -> list[tuple[str, str | None, str | None]]:
    return [(finding.code, finding.optimizer, finding.path) for finding in result.manifest.findings]


def modules(result: Result) -> set[str]:
    return {row.path for row in result.manifest.files if ".pyz/" in row.path and row.after}


def test_modules_and_files_that_are_missed_are_named_and_put_back(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    result = verified(tmp_path, app, ["**/pets/cat.pyc", "**/inner/deep.pyc", "link.txt", "calendar.pyc"])
    assert set(put_back(result)) == {
        ("MB601", "exclude", "_internal/app.pyz/pets/cat.pyc"),
        ("MB601", "exclude", "_internal/app.pyz/tools/inner/deep.pyc"),
        ("MB601", "exclude", "_internal/däta/link.txt"),
    }
    assert says(tmp_path / "small/app") == says(app / "app") == SAID
    assert not any(path.endswith("calendar.pyc") for path in modules(result))
    assert result.verification is not None
    assert [row.path for row in result.verification.reverted] == [path for _, _, path in put_back(result)]


def test_a_library_that_only_this_machine_has_is_caught_in_a_clean_root(tmp_path: Path, maker: str) -> None:
    app = frozen_folder(tmp_path)
    (library,) = (app / "_internal").glob("libbz2.so*")
    outside = verified(tmp_path, app, [library.name])
    assert put_back(outside) == []
    shutil.rmtree(tmp_path / "small")
    result = verified(tmp_path, app, [library.name, "calendar.pyc"], jail=True)
    assert put_back(result) == [("MB601", "exclude", f"_internal/{library.name}")]
    assert f"{library.name}: cannot open shared object file" in result.manifest.findings[0].message
    assert (tmp_path / "small/_internal" / library.name).is_file()
    assert result.verification is not None
    assert result.verification.jail
    assert result.verification.runs <= 8


OPTIONS = """\
entry-point = "tiny_app.main:data"
collect-data = ["tiny_app"]
data = ["assets:assets"]
one-file = {one_file}
"""
VERIFY = """\
[tool.mlbundle]
optimizers = ["exclude"]
[tool.mlbundle.exclude]
paths = ["words.txt", "calendar.pyc"]
[[tool.mlbundle.verify.commands]]
run = ["{bundle}/Tiny_App"]
"""


@pytest.mark.parametrize("one_file", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_build_verifies_what_it_froze(tmp_path: Path, one_file: bool) -> None:
    project = frozen_project(tmp_path / "project", OPTIONS.format(one_file=str(one_file).lower()) + VERIFY)
    (project / "assets").mkdir()
    (project / "assets" / "x").write_text("x")
    (tmp_path / "scratch").mkdir()
    result = build(project, "-t", "frozen", TMPDIR=str(tmp_path / "scratch"))
    assert result.returncode == 0, result.stderr
    target = project / "dist" / "Tiny_App"
    (finding,) = Manifest.load(target.with_name(f"Tiny_App{SUFFIX}")).findings
    assert (finding.code, finding.path) == ("MB601", "_internal/tiny_app/words.txt")
    assert f"MB601 exclude: {finding.path}: was put back" in " ".join(result.stderr.split())
    assert says(target if one_file else target / "Tiny_App") == "some words x"
    told = json.loads(target.with_name(f"Tiny_App{report.SUFFIX}").read_text())
    assert [row["path"] for row in told["reverted"]] == [finding.path]
    assert sorted(path.name for path in (project / "dist").iterdir()) == ["Tiny_App", f"Tiny_App{report.SUFFIX}", f"Tiny_App{SUFFIX}"]
    assert [path.name for path in (tmp_path / "scratch").iterdir() if path.name.startswith("mlbundle-workspace")] == []
    assert build(project, "-t", "frozen", "--clean-only").returncode == 0
    assert list((project / "dist").iterdir()) == []


def test_a_build_whose_application_fails_leaves_the_former_one(tmp_path: Path) -> None:
    """The application, frozen before, is changed so that it fails by itself."""
    app = frozen_folder(tmp_path)
    (app / "_internal/däta/link.txt").unlink()
    (tmp_path / "pyproject.toml").write_text('[[tool.mlbundle.verify.commands]]\nname = "app"\nrun = ["{bundle}/app"]\n')
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", str(app)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    (line,) = result.stderr.splitlines()
    assert line.startswith("mlbundle: verify: 'app' fails on the untouched artifact: it exits with 1 instead of 0: FileNotFoundError")
    assert "{bundle}/_internal/däta/link.txt" in line
    assert result.returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "pyproject.toml"]
