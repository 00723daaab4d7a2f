from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.bundles.test_frozen import modules_in, shape
from tests.docs.snippets import of
from tests.frozensmith import pyinstaller, says, write_sources

pytest.importorskip("PyInstaller")

(_DOCUMENTED,) = (each.text for each in of("python") if each.page == "docs/frozen.md")
_SPEC = _DOCUMENTED.replace(
    'Analysis(["app.py"])', 'Analysis(["app.py"], datas=[("d\u00e4ta", "d\u00e4ta")], excludes=["ssl", "_ssl", "hashlib", "_hashlib"])'
)
_FOLDER = 'exe = EXE(pyz, a.scripts, exclude_binaries=True, name="app")\ncoll = COLLECT(exe, a.binaries, a.datas, name="app")\n'
_FILE = 'exe = EXE(pyz, a.scripts, a.binaries, a.datas, name="app")\n'
_CONFIGURATION = (
    '[tool.mlbundle]\noptimizers = ["exclude", "strip"]\n[tool.mlbundle.exclude]\npaths = ["*.pyz/space/", "*.pyz/pets/cat.pyc"]\n'
)
SAID = "no pets.cat 2 no space.one.mod data run"


def project(folder: Path, ending: str, configuration: str = _CONFIGURATION) -> Path:
    write_sources(folder)
    (folder / "app.spec").write_text(_SPEC + ending, encoding="utf-8")
    (folder / "pyproject.toml").write_text(configuration)
    return folder


def test_a_folder_comes_out_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    results = []
    for name in ("plain", "with spaces \u00e4\u4f60"):
        folder = project(tmp_path / name, _FOLDER)
        result = pyinstaller(folder, "app.spec")
        assert result.returncode == 0, result.stderr
        assert says(folder / "dist/app/app") == SAID
        results.append((shape(folder / "dist/app"), (folder / "dist/app.mlbundle.json").read_bytes()))
    assert results[0] == results[1]
    assert not {"pets.cat", "space.one.mod"} & modules_in(folder / "dist/app/app")
    assert {"pets", "tools.inner.deep"} <= modules_in(folder / "dist/app/app")
    rewritten = [path for path in (folder / "build/app/mlbundle/app").rglob("*") if path.is_file()]
    assert rewritten
    for path in rewritten:
        inside = path.relative_to(folder / "build/app/mlbundle/app")
        assert (folder / "dist/app/_internal" / inside).read_bytes() == path.read_bytes()
    manifest = json.loads(results[0][1])
    assert [row["path"] for row in manifest["files"] if row["after"] is None] == ["app.pyz/pets/cat.pyc", "app.pyz/space/one/mod.pyc"]


def test_one_file_loses_the_same_and_a_wrong_configuration_leaves_it(tmp_path: Path) -> None:
    folder = project(tmp_path, _FILE)
    result = pyinstaller(folder, "app.spec")
    assert result.returncode == 0, result.stderr
    assert says(folder / "dist/app") == SAID
    assert not {"pets.cat", "space.one.mod"} & modules_in(folder / "dist/app")
    before = shape(folder / "dist")
    (folder / "pyproject.toml").write_text("[tool.mlbundle]\noptimisers = []\n")
    result = pyinstaller(folder, "app.spec")
    assert result.returncode == 2
    told = [line for line in result.stderr.splitlines() if "mlbundle" in line]
    assert len(told) == 1
    assert told[0].startswith("mlbundle: tool.mlbundle.optimisers")
    assert "Traceback" not in result.stderr
    assert shape(folder / "dist") == before
    shutil.rmtree(folder / "build")
