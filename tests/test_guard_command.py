"""The command with plugins installed that misbehave: it ends, it tells, and what was there before stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sites import HEAD, Site, registering

STEP = """
class Bad(Optimizer):
    "Misbehaves."
    name = "bad"
    version = "1"
    def plan(self, bundle, context):
        return [Rewrite(path=path, reason="shorter") for path in bundle if path.endswith(".txt")]
    def rewrite(self, task, context):
        task.target.write_text("x")
        {body}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "one.txt").write_text("one " * 50)
    (folder / "app" / "keep.bin").write_text("keep")
    (folder / "pyproject.toml").write_text('[tool.mlbundle]\noptimizers = ["bad"]\n[tool.mlbundle.bad]\ntimeout = 0.5\n')
    (tmp_path / "tmp").mkdir()
    return folder


def mlbundle(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the project, its folder for temporary files elsewhere; one that does not end fails the test."""
    site = project.parent / "site"
    path = os.pathsep.join([str(site), *(each for each in sys.path if each)])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(project.parent / "tmp"), "COLUMNS": "80"}
    command = [sys.executable, "-m", "hatch_mlbundle", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=60)


def install(project: Path, body: str) -> None:
    Site(project.parent / "site").add("mlbundle-bad", HEAD + STEP.format(body=body) + registering("Bad"))


def findings(project: Path) -> list[tuple[str, str]]:
    manifest = json.loads((project / "app.mlbundle.json").read_text())
    return [(each["code"], each["message"]) for each in manifest["findings"]]


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(600)",
        "from concurrent.futures import ThreadPoolExecutor; ThreadPoolExecutor().submit(time.sleep, 600).result()",
        "t = threading.Thread(target=time.sleep, args=(600,), daemon=False); t.start(); t.join()",
    ],
)
def test_a_build_with_a_plugin_that_hangs_ends(project: Path, body: str) -> None:
    install(project, body)
    start = time.monotonic()
    ran = mlbundle(project, "optimize", "app")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert time.monotonic() - start < 30
    ((code, message),) = findings(project)
    assert (code, message.partition(" was given up")[0]) == ("MB121", "plugin mlbundle-bad: took longer than 0.5 seconds in one call and")
    assert (project / "app" / "one.txt").read_text() == "one " * 50


def test_a_write_outside_of_everything_is_refused(project: Path) -> None:
    precious = project.parent / "home" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("precious")
    install(project, f"Path({str(precious)!r}).write_text('gone')")
    assert mlbundle(project, "optimize", "app", "--strict").returncode == 1
    ran = mlbundle(project, "optimize", "app")
    assert ran.returncode == 0
    ((code, message),) = findings(project)
    assert code == "MB122"
    assert message == f"plugin mlbundle-bad: tried to write {precious}, which is none of its folders, and was refused; the original stays"
    assert precious.read_text() == "precious"
    assert sorted(path.name for path in (project.parent / "tmp").iterdir()) == []


def test_a_plugin_that_cannot_be_loaded_is_told_but_no_obstacle(project: Path) -> None:
    Site(project.parent / "site").add("mlbundle-broken", "import no_such_module_here")
    line = "plugin mlbundle-broken cannot be loaded (ModuleNotFoundError: No module named 'no_such_module_here'); reinstall or uninstall it"
    refused = mlbundle(project, "optimize", "app")
    assert refused.returncode == 2
    assert f"tool.mlbundle.optimizers[0]: unknown optimizer 'bad'; {line}" in refused.stderr
    (project / "pyproject.toml").write_text("")
    for _ in range(2):
        assert mlbundle(project, "optimize", "app").returncode == 0
        assert findings(project) == [("MB106", line)]
    listed = mlbundle(project, "plugins", "--json")
    assert (listed.returncode, listed.stderr) == (0, f"mlbundle: MB106 {line}\n")
    assert {each["name"] for each in json.loads(listed.stdout)} >= {"strip", "test_data"}
    strict = mlbundle(project, "optimize", "app", "--strict")
    assert (strict.returncode, line in strict.stderr) == (1, True)
