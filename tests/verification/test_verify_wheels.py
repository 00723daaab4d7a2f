"""Wheels verified in a fresh virtual environment, by the hook and by the command line."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.trials.jail import available
from hatch_mlbundle.verification import report
from tests.projects import HOOK, build, built_wheel, environment, tiny_project

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
PLUGIN = """\
from hatch_mlbundle.hookspecs import hookimpl
from hatch_mlbundle.model import Drop
from hatch_mlbundle.optimizer import Optimizer


class Harmful(Optimizer):
    name = "harmful"
    version = "1"

    def plan(self, bundle, context):
        return [Drop(path=path, reason="planted") for path in bundle if path.endswith((".txt", "share/tiny.json"))]


@hookimpl
def mlbundle_register_optimizers():
    return [Harmful]
"""
MAIN = """\
import json, pathlib, sys

def main():
    print((pathlib.Path(__file__).parent / "words.txt").read_text(), *sys.argv[1:])

def shared():
    print(json.loads((pathlib.Path(sys.prefix) / "share/tiny.json").read_text()))
"""


def harmful_plugin(folder: Path) -> str:
    """Write a distribution with an optimizer that drops what is needed, and return the folder to import it from."""
    metadata = folder / "harmful-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: harmful\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[mlbundle]\nharmful = harmful\n")
    (folder / "harmful.py").write_text(PLUGIN)
    return str(folder)


def project(folder: Path, tables: str, more: str = "") -> Path:
    """Write a project with scripts, a data file in the package, and one beside it, to be built with these tables."""
    made = tiny_project(folder, tables)
    (made / "tiny_app" / "main.py").write_text(MAIN)
    for name in ("words", "unread", "unread too"):
        (made / "tiny_app" / f"{name}.txt").write_text(f"some {name}")
    (made / "tiny.json").write_text('{"shared": 1}')
    text = (made / "pyproject.toml").read_text()
    scripts = f'version = "1.0"\n{more}\n[project.scripts]\ntiny-say = "tiny_app.main:main"\ntiny-share = "tiny_app.main:shared"\n'
    shared = '[tool.hatch.build.targets.wheel.shared-data]\n"tiny.json" = "share/tiny.json"\n'
    (made / "pyproject.toml").write_text(text.replace('version = "1.0"\n', scripts) + shared)
    return made


def verified(*commands: list[str], verify: str = "", optimizers: str = '"test_data", "harmful"') -> str:
    text = f"[tool.mlbundle]\noptimizers = [{optimizers}]\n[tool.mlbundle.verify]\n{verify}\n"
    return text + "".join(f"[[tool.mlbundle.verify.commands]]\nrun = {json.dumps(command)}\n" for command in commands)


def assert_record_is_right(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert set(rows) == set(archive.namelist())
        for name, (told, size) in rows.items():
            data = archive.read(name)
            if name != record:
                assert (told, size) == (
                    "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("="),
                    str(len(data)),
                )


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if "-info/" not in name}


def test_the_hook_finds_what_a_step_broke_and_puts_just_that_back(tmp_path: Path) -> None:
    """A console script, a data file in the package and one beside it, and a module of its tests that somebody imports."""
    commands = [["tiny-say", "x"], ["tiny-share"], ["{python}", "-c", "import tiny_app.tests.test_answer as t; print(t.answer())"]]
    made = project(tmp_path / "project", HOOK + verified(*commands))
    plugin = harmful_plugin(tmp_path / "site")
    result = build(made, PYTHONPATH=f"{plugin}:{environment().get('PYTHONPATH', '')}", TMPDIR=str(scratch(tmp_path)), **OFFLINE)
    assert result.returncode == 0, result.stderr
    wheel = built_wheel(made)
    manifest = Manifest.load(wheel.with_name(wheel.name + SUFFIX))
    put_back = {(finding.code, finding.optimizer, finding.path) for finding in manifest.findings}
    assert put_back == {
        ("MB601", "harmful", "tiny_app/words.txt"),
        ("MB601", "harmful", "tiny_app-1.0.data/data/share/tiny.json"),
        ("MB601", "test_data", "tiny_app/tests/test_answer.py"),
    }  # without its __init__.py the package of tests is a namespace package, which works as well
    assert "tiny_app/unread.txt" not in names(wheel)
    assert "tiny_app/tests/data/noise.bin" not in names(wheel)
    assert_record_is_right(wheel)
    told = json.loads(wheel.with_name(wheel.name + report.SUFFIX).read_text())
    assert told["artifact"]["sha256"] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert [row["name"] for row in told["commands"]] == [" ".join(command) for command in commands]
    assert "works as before" in result.stderr
    assert list((tmp_path / "scratch").iterdir()) == []


def scratch(folder: Path) -> Path:
    (folder / "scratch").mkdir()
    return folder / "scratch"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    made = project(tmp_path / "project", "")
    assert build(made).returncode == 0
    return built_wheel(made)


def mlbundle(project: Path, wheel: Path, tables: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run mlbundle as its console script does, in a project with a module that nobody must take for that of Python."""
    (project / "pyproject.toml").write_text(tables)
    (project / "logging.py").write_text("raise SystemExit(1)\n")
    code = "import sys; sys.path.remove(''); from hatch_mlbundle.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "optimize", str(wheel)]
    variables = environment(**{**OFFLINE, **more})
    return subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("jail", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_wheel_with_further_requirements_is_verified(tmp_path: Path, wheel: Path, jail: bool) -> None:
    if jail and available() is not None:
        pytest.skip(str(available()))
    (tmp_path / "other").mkdir()
    other = tiny_project(tmp_path / "other", "")
    (other / "pyproject.toml").write_text((other / "pyproject.toml").read_text().replace("Tiny_App", "other").replace("tiny_app", "other"))
    (other / "tiny_app").rename(other / "other")
    assert build(other).returncode == 0
    verify = f"requirements = [{json.dumps(str(built_wheel(other)))}]\njail = {str(jail).lower()}\n"
    code = "import other, tiny_app, os; print(other.answer(), tiny_app.answer(), os.path.exists('/usr/bin/env'))"
    tables = verified(["{python}", "-c", code], verify=verify, optimizers='"test_data"')
    result = mlbundle(tmp_path, wheel, tables)
    assert result.returncode == 0, result.stderr
    assert ("works as before in a clean root: 3 runs" if jail else "works as before: 3 runs") in result.stdout
    assert "tiny_app/tests/test_answer.py" not in names(wheel)
    assert_record_is_right(wheel)


def test_what_cannot_be_installed_is_one_line(tmp_path: Path) -> None:
    for number, (more, reason) in enumerate(
        (
            ('requires-python = "<3.2"', "requires a different Python"),
            ('dependencies = ["mlbundle-no-such-thing >= 1"]', "No matching distribution found for mlbundle-no-such-thing>=1"),
        )
    ):
        made = project(tmp_path / str(number), HOOK + verified(["tiny-say"], optimizers='"test_data"'), more)
        result = build(made, **OFFLINE)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        name = built_wheel(made).name
        assert line.startswith(f"mlbundle: cannot install {name} to verify it: ")
        assert reason in line
        assert line.endswith(f"({name} stays as hatch built it)")
        assert "tiny_app/tests/test_answer.py" in names(built_wheel(made))


def test_what_only_wheels_have_is_refused_for_others(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "data.txt").write_text("x")
    result = mlbundle(tmp_path, tmp_path / "app", verified(["{python}", "-V"], optimizers='"test_data"'))
    (line,) = result.stderr.splitlines()
    assert line == "mlbundle: tool.mlbundle.verify: '{python} -V' names {python}, which only wheels have"
    assert result.returncode == 2


def test_a_build_that_is_ended_leaves_the_wheel_as_hatch_built_it(tmp_path: Path) -> None:
    code = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(100)"
    started = tmp_path / "started"
    made = project(tmp_path / "project", HOOK + verified(["{python}", "-c", code, str(started)], optimizers='"test_data"'))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    variables = environment(TMPDIR=str(scratch(tmp_path)), **OFFLINE)
    with subprocess.Popen(command, cwd=made, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (143, "", "")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "tiny_app/tests/test_answer.py" in names(built_wheel(made))
    assert [path.name for path in (made / "dist").iterdir()] == [built_wheel(made).name]
