"""`mlbundle trace` on a real frozen application."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.profile import Profile, load_profile
from hatch_mlbundle.tracing.frozen import PREFIX
from hatch_mlbundle.tracing.trace import traced_run
from tests.frozensmith import frozen_file
from tests.projects import REPOSITORY
from tests.tracing.application import UNUSED, USED, traced_application

pytestmark = pytest.mark.skipif(os.name != "posix", reason="starts processes as POSIX systems do")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="what native code opens is seen on Linux only")
PROFILE = "profile.json"
ASKED = {f"files/{name}.txt" for name in ("asked", "asked-by-pathlib", "bytes", "descriptor", "listed/small")} | {"pets/bird"}
"""Of `USED`, what is never opened, nor imported."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return traced_application(tmp_path_factory.mktemp("bundle"))


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "hatch_mlbundle", "trace", "-o", PROFILE, *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)}


def traced(folder: Path, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `mlbundle trace` in a folder, which is also that for temporary files; nothing of these may be left."""
    result = subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), input="hello\n", capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == status, result.stderr
    assert [path.name for path in folder.iterdir() if PREFIX in path.name] == []
    return result


def short(paths: frozenset[str]) -> set[str]:
    """Return what of `pets`, `files` and the native library is among paths, as `USED` has it."""
    inner = {path.removeprefix("_internal/").removeprefix("app.pyz/") for path in paths if path.startswith("_internal/")}
    return {path.removesuffix(".pyc") for path in inner if path.startswith(("pets/", "files/", "libreader"))} - {"pets/source.py"}


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest(), status.st_mode, status.st_mtime_ns
    return found


@on_linux
def test_everything_that_a_run_uses_is_seen(bundle: Path, tmp_path: Path) -> None:
    before = state(bundle)
    result = traced(tmp_path, "--", bundle / "app", "an argument", "/elsewhere/file.txt")
    profile = load_profile(tmp_path / PROFILE)
    assert short(profile.used | profile.asked) == USED
    assert short(profile.asked) == ASKED
    assert short(profile.unused) == UNUSED
    assert {"app", "_internal/base_library.zip"} <= profile.used
    assert profile.runs == (("app", "an argument", "file.txt"),)
    assert result.stdout == "child\ncat hello an argument /elsewhere/file.txt\n"
    (told,) = result.stderr.splitlines()
    needed = profile.used | profile.asked
    assert told.startswith(f"mlbundle: profile: {len(needed):,} of {len(profile.inventory):,} files used (+{len(needed):,} by")
    assert state(bundle) == before
    text = (tmp_path / PROFILE).read_text()
    assert str(tmp_path) not in text
    traced(tmp_path, "--", bundle / "app", "an argument", "/elsewhere/file.txt")
    assert (tmp_path / PROFILE).read_text() == text


def test_runs_are_united_and_what_is_gone_leaves(bundle: Path, tmp_path: Path) -> None:
    first = traced(tmp_path, "--", bundle / "app", "child")
    used, asked = load_profile(tmp_path / PROFILE).used, load_profile(tmp_path / PROFILE).asked
    assert "_internal/files/child.txt" in used
    assert "(+" in first.stderr
    old = Profile(
        runs=(("app", "old"),), used=frozenset({"_internal/gone", "_internal/files/unused.txt"}), unused=frozenset({"_internal/away"})
    )
    old.save(tmp_path / PROFILE)
    second = traced(tmp_path, "--", bundle / "app", "child")
    profile = load_profile(tmp_path / PROFILE)
    assert (profile.used, profile.asked) == (used | {"_internal/files/unused.txt"}, asked)
    assert profile.runs == (("app", "child"), ("app", "old"))
    assert "2 files of the profile are no longer in the application, and left it" in second.stderr


def test_a_failing_command_counts_only_when_it_is_allowed_to(bundle: Path, tmp_path: Path) -> None:
    result = traced(tmp_path, "--", bundle / "app", "fail", status=3)
    assert f"the command failed (exit status 3): {PROFILE} stays as it was" in result.stderr
    assert not (tmp_path / PROFILE).exists()
    traced(tmp_path, "--allow-failure", "-q", "--", bundle / "app", "fail", status=3)
    assert "_internal/app.pyz/pets/dog.pyc" in load_profile(tmp_path / PROFILE).used


def test_a_killed_process_has_told_what_it_used(bundle: Path, tmp_path: Path) -> None:
    traced(tmp_path, "--allow-failure", "--", bundle / "app", "killed", status=128 + signal.SIGKILL)
    assert "_internal/files/opened.txt" in load_profile(tmp_path / PROFILE).used


def test_functions_that_are_watched_look_as_before(bundle: Path, tmp_path: Path) -> None:
    assert traced(tmp_path, "--", bundle / "app", "pickle").stdout == "stat posix True True\n"


def test_a_daemon_that_closes_what_it_does_not_know_has_its_files_to_itself(bundle: Path, tmp_path: Path) -> None:
    traced(tmp_path, "--", bundle / "app", "daemon", tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "only mine"
    assert "_internal/files/opened.txt" in load_profile(tmp_path / PROFILE).used


@on_linux
def test_what_a_command_leaves_behind_is_ended(bundle: Path, tmp_path: Path) -> None:
    assert "left 1 processes behind; they were ended" in traced(tmp_path, "--", bundle / "app", "leave").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number: signal.Signals, bundle: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--", bundle / "app", "wait"), cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    if number == signal.SIGINT:  # as a terminal does, to all of them
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, error = process.communicate(timeout=30)
    assert [path.name for path in tmp_path.iterdir() if PREFIX in path.name] == []
    assert not is_there(process.pid)
    if number == signal.SIGINT:  # a server that ends well on Ctrl-C has done a run
        assert (process.returncode, output) == (0, "bye\n"), error
        assert "app" in load_profile(tmp_path / PROFILE).used
    else:
        assert process.returncode == 143
        assert not (tmp_path / PROFILE).exists()


def is_there(group: int) -> bool:
    """Say whether a group of processes is still there after a while."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


@on_linux
def test_a_tree_of_ours_is_traced_in_place(tmp_path: Path) -> None:
    tree = traced_application(tmp_path)
    before = state(tree)

    def run(variables: dict[str, str]) -> str:
        return subprocess.run(
            [tree / "app"], env={**os.environ, **variables}, input="in place\n", capture_output=True, text=True, check=True
        ).stdout

    output, seen = traced_run(tree, run)  # type: ignore[arg-type]
    assert output == "child\ncat in place\n"
    assert short(seen.used) == USED
    assert seen.missed is None
    assert state(tree) == before
    assert [path.name for path in tmp_path.iterdir()] == ["app"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-program"], "there is no such program"),
        ([Path("/bin/sh"), "-c", "true"], "is no frozen application, no Python and no script of one"),
    ],
)
def test_what_cannot_be_traced_is_one_line(arguments: list[str | Path], told: str, tmp_path: Path) -> None:
    result = traced(tmp_path, "--", *arguments, status=2)
    (line,) = result.stderr.splitlines()
    assert told in line


def test_a_package_of_a_frozen_application_is_one_line(bundle: Path, tmp_path: Path) -> None:
    assert "is traced as a whole" in traced(tmp_path, "--package", "x", "--", bundle / "app", status=2).stderr


def test_one_file_is_one_line(tmp_path: Path) -> None:
    assert "trace it in its one-folder form" in traced(tmp_path, "--", frozen_file(tmp_path), status=2).stderr


def test_a_broken_profile_is_told_before_the_run(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / PROFILE).write_text("{")
    result = traced(tmp_path, "--", bundle / "app", "child", status=2)
    assert result.stdout == ""
    assert "is no JSON" in result.stderr
