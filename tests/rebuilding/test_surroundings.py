"""What a build sees in other surroundings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.rebuilding.surroundings import VARIATIONS, possible, surroundings

SEEN = """
import json, locale, os, pathlib, time
umask = os.umask(0)
locale.setlocale(locale.LC_ALL, "")
print(json.dumps({
    "umask": umask, "zone": time.timezone, "home": os.path.expanduser("~"), "user": os.environ.get("USER"), "uid": os.getuid(),
    "hash": hash("text"), "locale": locale.setlocale(locale.LC_ALL), "cache": os.environ["MLBUNDLE_CACHE_DIR"],
    "cores": len(os.sched_getaffinity(0)), "year": time.gmtime().tm_year,
    "listed": [os.listdir("d"), [e.name for e in os.scandir("d")], [p.name for p in pathlib.Path("d").iterdir()], next(os.walk("d"))[2]],
}))
"""


def seen(folder: Path, varied: list[Any]) -> dict[str, Any]:
    where = surroundings(folder, varied)
    (where.folder / "d").mkdir()
    for name in ("b", "c", "a"):
        (where.folder / "d" / name).write_text("")
    command = where.wrapped([sys.executable, "-c", SEEN])
    run = subprocess.run(command, cwd=where.folder, env=dict(where.variables), capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="cores are bound on Linux alone")
def test_everything_that_is_varied_differs_and_nothing_else_does(tmp_path: Path) -> None:
    reasons = possible(isolated=True)
    assert set(reasons) == set(VARIATIONS)
    varied = [name for name, reason in reasons.items() if reason is None]
    here, there = seen(tmp_path / "1", []), seen(tmp_path / "2", varied)
    assert (here["umask"], there["umask"]) == (0o022, 0o077)
    assert here["uid"] == os.getuid()
    assert here["home"] == str(Path.home()) != there["home"]
    for key, variation in {"uid": "user id", "cores": "cores"}.items():
        assert (here[key] != there[key]) is (variation in varied)
    for key in ("zone", "user", "hash", "locale", "cache"):
        assert here[key] != there[key], key
    assert here["listed"] == [["a", "b", "c"]] * 4
    assert there["listed"] == [["c", "b", "a"]] * 4


def test_another_sitecustomize_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.theirs = True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    where = surroundings(tmp_path / "1", [])
    code = "import os, sys; print(sys.theirs, os.listdir.__name__)"
    run = subprocess.run([sys.executable, "-c", code], env=dict(where.variables), capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "_sorted_listdir"]


def test_isolated_builds_keep_the_clock() -> None:
    assert possible(isolated=True)["clock"] == "packages are installed in each build"
