"""The fixtures, as pytest finds them where hatch-mlbundle is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[2]

CONFTEST = """\
import sys

LOADED = {name for name in sys.modules if name.partition(".")[0] in ("hatch_mlbundle", "hatchling", "rich", "numpy")}
"""
LOADED = """\
from conftest import LOADED


def test_loading_costs_next_to_nothing():
    assert LOADED == {"hatch_mlbundle", "hatch_mlbundle.pytest_plugin"}
"""
FIXTURES = """\
import os
import zipfile

from trimming import Trim

FILES = {"pkg/a.txt": "a     \\nb"}
ELSEWHERE = dict.fromkeys(["deterministic", "safe", "parallel", "selective", "cacheable"], "tried by the kit's own tests")


def test_factories(mlbundle_bundle, mlbundle_wheel, mlbundle_folder, tmp_path):
    assert mlbundle_bundle(FILES).size == 8
    wheel = mlbundle_wheel(FILES, name="maps")
    assert wheel == tmp_path / "maps-1.0-py3-none-any.whl"
    assert "maps-1.0.dist-info/RECORD" in zipfile.ZipFile(wheel).namelist()
    assert (mlbundle_folder(FILES) / "pkg/a.txt").read_text() == FILES["pkg/a.txt"]


def test_running(mlbundle_run, mlbundle_wheel, mlbundle_cache):
    assert os.environ["MLBUNDLE_CACHE_DIR"] == str(mlbundle_cache)
    assert mlbundle_run(Trim, mlbundle_wheel(FILES)).files["pkg/a.txt"] == b"a\\nb"
    assert mlbundle_run(Trim, FILES, {"suffix": ".md"}).changed == {}
    assert list(mlbundle_cache.rglob("entry.json"))


def test_laws(mlbundle_laws):
    mlbundle_laws(Trim, FILES, without=ELSEWHERE)


def test_a_broken_law(mlbundle_laws):
    mlbundle_laws(Terse, FILES, without=ELSEWHERE)


class Terse(Trim):
    \"\"\"Says nothing.\"\"\"

    def plan(self, bundle, context):
        return [type(change)(path=change.path, reason="trimmed") for change in super().plan(bundle, context)]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with tests, and our entry points where Python looks for those of what is installed."""
    (tmp_path / "site" / "hatch_mlbundle-9.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "hatch_mlbundle-9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: hatch-mlbundle\nVersion: 9\n")
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    lines = ["[pytest11]", *(f"{name} = {value}" for name, value in declared.items())]
    (tmp_path / "site" / "hatch_mlbundle-9.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings = error\npythonpath = .\naddopts = --strict-markers -p no:cacheprovider\n"
    )
    (tmp_path / "trimming.py").write_text((Path(__file__).with_name("misbehaving.py")).read_text())
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_loaded.py").write_text(LOADED)
    (tmp_path / "test_fixtures.py").write_text(FIXTURES)
    return tmp_path


def pytest_in(project: Path, *arguments: str) -> str:
    """Run pytest in the project as a person does, and return what it says."""
    path = os.pathsep.join([str(project / "site"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": "", "COLUMNS": "80"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False).stdout


def test_fixtures_are_there_and_a_broken_law_reads_well(project: Path) -> None:
    said = pytest_in(project, "test_loaded.py", "test_fixtures.py")
    assert "4 passed" in said, said
    (line,) = (line for line in said.splitlines() if line.startswith("E ") and "breaks the law" in line)
    assert line.endswith("Terse breaks the law 'honest': the reason of the change of pkg/a.txt is 'trimmed', from which nobody learns why")
    assert "law.py" not in said.partition("= FAILURES =")[2].partition("short test summary")[0]


@pytest.mark.slow
def test_with_xdist(project: Path) -> None:
    pytest.importorskip("xdist")
    assert "2 passed" in pytest_in(project, "-n", "2", "-k", "factories or running")


def test_it_can_be_switched_off(project: Path) -> None:
    said = pytest_in(project, "-p", "no:mlbundle", "test_fixtures.py::test_laws")
    assert "fixture 'mlbundle_laws' not found" in said
