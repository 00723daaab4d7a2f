"""`mlbundle rebuild` on real projects, as its user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.rebuilding.causes import ORDER
from hatch_mlbundle.rebuilding.surroundings import possible
from tests.projects import tiny_project
from tests.rebuilding.faulty import FAULTS, hatch_project, setuptools_project


def rebuild(folder: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MLBUNDLE_CACHE_DIR": str(folder / "cache"), "USER": "builder", **variables}
    command = [sys.executable, "-m", "hatch_mlbundle", "rebuild", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=300)


def test_a_project_that_is_optimized_is_reproducible(tmp_path: Path) -> None:
    project = tiny_project(tmp_path / "project")
    before = sorted(tmp_path.rglob("*"))
    run = rebuild(project, "--check", "-t", "wheel")
    assert run.returncode == 0, run.stderr
    first, *_, last = run.stdout.splitlines()
    assert first.startswith("tiny_app-1.0-py2.py3-none-any.whl: ")
    assert last == "reproducible"
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert run.stderr == ""
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.relative_to(tmp_path).parts] == before


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("faulty")
    run = rebuild(hatch_project(folder / "faulty", *FAULTS), "--check", "-t", "wheel", "--json", "--keep", folder / "kept")
    assert run.returncode == 1, run.stderr
    assert run.stderr.startswith("mlbundle: not reproducible: faulty-1.0-py3-none-any.whl: faulty/c")
    assert "line 1; --why finds out why; " in run.stderr
    assert len(run.stderr.splitlines()) == 1
    names = [zipfile.ZipFile(wheel).namelist() for wheel in sorted((folder / "kept").rglob("*.whl"))]
    assert len(names) == 2
    verdict: dict[str, Any] = json.loads(run.stdout)
    return verdict


CAUSES = {
    "calendar.txt": "",
    "chance.txt": "",
    "folder.py": "the path of the folder that it was built in",
    "home.py": "the path of the home folder",
    "listing.txt": ORDER,
    "order.py": ORDER,
    "time.py": "a time; take it from SOURCE_DATE_EPOCH",
    "uid.py": "the id of who builds",
    "user.py": "the name of who builds",
    "zone.py": "",
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_with_its_cause(faulty: dict[str, Any], name: str) -> None:
    needed = {"uid.py": "user id", "calendar.txt": "clock"}.get(name)
    if needed and (reason := {**possible(isolated=False)}[needed]):
        pytest.skip(reason)
    (found,) = [each for each in faulty["differences"] if each["where"][1:] == [f"faulty/{name}"]]
    assert found["cause"] == CAUSES[name]
    assert found["what"] == ("line 2" if name == "time.py" else "line 1")
    assert found["first"] != found["second"]


def test_what_follows_comes_last_and_nothing_else_differs(faulty: dict[str, Any]) -> None:
    assert not faulty["reproducible"]
    assert faulty["differences"][-1]["where"][1:] == ["faulty-1.0.dist-info/RECORD"]
    assert {each["where"][1].removeprefix("faulty/") for each in faulty["differences"][:-1]} <= FAULTS.keys()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "mlbundle rebuild: needs --check"),
        (["--check", "absent"], "absent: is no project"),
        (["--check", "."], ".: is no project"),
        (["--against", "absent.whl"], "--against: absent.whl: does not exist"),
        (["--check", "broken"], "broken/pyproject.toml: is no TOML"),
        (["--check", "-t", "wheel", "broken"], "broken: cannot be built: Failed to parse "),
        (["--check", "-t", "wheel", "needy"], "needy: cannot be built: Unmet dependencies (checked against "),
    ],
)
def test_wrong_use_is_told_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pyproject.toml").write_text("[")
    needy = hatch_project(tmp_path / "needy") / "pyproject.toml"
    needy.write_text(needy.read_text().replace('["hatchling"]', '["hatchling", "no-such-thing"]'))
    run = rebuild(tmp_path, *arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith(f"mlbundle: {told}")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_release_is_compared_with_what_the_project_gives_now_and_the_examples_of_the_help_work(tmp_path: Path) -> None:
    project = hatch_project(tmp_path / "project", name="app")
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", project, project]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    listed = rebuild(project, "--help").stdout.splitlines()
    examples = [line.split()[2:] for line in listed if line.startswith("  mlbundle rebuild ")]
    for example, last in zip(examples, ("reproducible", "reproducible", "the same as app-1.0-py3-none-any.whl"), strict=True):
        run = rebuild(project, *example)
        assert (run.returncode, run.stdout.splitlines()[-1]) == (0, last), run.stderr
    (project / "faulty" / "one.py").write_text("answer = 43\n")
    run = rebuild(project, "--against", "app-1.0-py3-none-any.whl")
    assert run.returncode == 1
    assert run.stderr.startswith("mlbundle: not reproducible: app-1.0-py3-none-any.whl: faulty/one.py: line 1")
    assert "  - (the end)\n  + answer = 43\n" in run.stdout


def test_a_release_of_another_name_is_not_what_the_project_gives(tmp_path: Path) -> None:
    other = tmp_path / "other-1.0-py3-none-any.whl"
    other.write_bytes(b"")
    run = rebuild(tmp_path, "--against", other, hatch_project(tmp_path / "project"))
    assert run.returncode == 1
    assert "other-1.0-py3-none-any.whl: is not what the build makes" in run.stderr


@pytest.mark.slow
def test_the_umask_is_found_to_be_what_makes_the_difference(tmp_path: Path) -> None:
    project = setuptools_project(tmp_path / "project")
    run = rebuild(project, "--check", "--why", "-t", "wheel", SOURCE_DATE_EPOCH="1700000000")
    assert run.returncode == 1, run.stderr
    assert re.search(r": mode, and of \d more \(the umask of who builds\); it comes with umask$", run.stderr, flags=re.MULTILINE)


@pytest.mark.slow
def test_chance_is_found_by_building_in_the_same_surroundings(tmp_path: Path) -> None:
    run = rebuild(hatch_project(tmp_path / "project", "chance.txt"), "--check", "--why", "-t", "wheel")
    assert run.returncode == 1, run.stderr
    assert "faulty/chance.txt: line 1; it comes with the time or chance" in run.stderr


@pytest.mark.slow
def test_a_build_that_fails_elsewhere_is_told(tmp_path: Path) -> None:
    project = hatch_project(tmp_path / "project")
    hook = project / "hatch_build.py"
    hook.write_text(
        hook.read_text()
        + "\n\nif 'home' in os.path.expanduser('~') and 'mlbundle' in os.path.expanduser('~'):\n    raise SystemExit('no home')\n"
    )
    run = rebuild(project, "--check", "-t", "wheel")
    assert run.returncode == 1, run.stderr
    assert run.stderr == "mlbundle: project: is not built in other surroundings: no home\n"
