"""The command `mlbundle`, as a shell runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.bundles.wheelsmith import build_wheel
from tests.projects import environment

FILES = {
    "pkg/__init__.py": b"",
    "pkg/model.bin": bytes(range(256)) * 300,
    "pkg/tests/__init__.py": b"",
    "pkg/tests/test_pkg.py": b"def test_pkg():\n    assert True\n" * 50,
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return build_wheel(tmp_path, FILES)


def mlbundle(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False)


def test_optimize_in_place_and_elsewhere(wheel: Path, tmp_path: Path) -> None:
    original = wheel.read_bytes()
    result = mlbundle("optimize", wheel, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert wheel.read_bytes() == original
    small = tmp_path / "out" / wheel.name
    assert mlbundle("optimize", wheel).returncode == 0
    assert wheel.read_bytes() == small.read_bytes()
    assert len(wheel.read_bytes()) < len(original)
    assert (tmp_path / (wheel.name + SUFFIX)).read_bytes() == (tmp_path / "out" / (wheel.name + SUFFIX)).read_bytes()


def test_optimizing_again_changes_nothing(wheel: Path) -> None:
    assert mlbundle("optimize", wheel).returncode == 0
    once = wheel.read_bytes()
    result = mlbundle("optimize", wheel)
    assert "nothing to save" in result.stdout
    assert wheel.read_bytes() == once


def test_folder_goes_to_a_new_place_or_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    assert mlbundle("optimize", folder, "-o", tmp_path / "small").returncode == 0
    assert not (tmp_path / "small" / "pkg" / "tests").exists()
    assert (folder / "pkg" / "tests").exists()
    taken = mlbundle("optimize", folder, "-o", tmp_path / "small")
    assert taken.returncode == 2
    assert "is there already" in taken.stderr
    assert mlbundle("optimize", folder).returncode == 0
    assert not (folder / "pkg" / "tests").exists()


def test_folder_is_not_put_where_it_would_do_harm(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "app"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    for arguments, cwd, message in (
        (["app", "-o", "."], folder.parent, "home: is there already; remove it or choose another name"),
        ([".", "-o", "../../home"], folder, "home: is there already; remove it or choose another name"),
        (["app", "-o", "app/small"], folder.parent, "app/small: is inside"),
        (["app", "app/pkg", "-o", "app/new"], folder.parent, "app/new/app: is inside"),
        (["."], folder, "app: holds the current folder, which would be gone"),
        ([".."], folder / "pkg", "app: holds the current folder, which would be gone"),
    ):
        refused = mlbundle("optimize", *arguments, cwd=cwd)
        (line,) = refused.stderr.splitlines()
        assert (refused.returncode, message in line) == (2, True), line
        assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == sorted(FILES)
    assert mlbundle("optimize", ".", "-o", "../small", cwd=folder).returncode == 0
    assert mlbundle("optimize", ".", "../app/pkg", "-o", "../several", cwd=folder).returncode == 0
    assert sorted(path.name for path in folder.parent.iterdir() if not path.name.endswith(SUFFIX)) == ["app", "several", "small"]
    assert sorted(path.name for path in (folder.parent / "several").iterdir() if path.is_dir()) == ["app", "pkg"]


def test_folder_that_a_killed_run_moved_aside_is_found(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    former = tmp_path / f".app.{process.pid}.mlbundle-former"
    (former / "pkg").mkdir(parents=True)
    (former / "pkg/__init__.py").touch()
    result = mlbundle("optimize", "app", "-o", "small", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "app/pkg/__init__.py").exists()
    assert (tmp_path / "small/pkg/__init__.py").exists()


@pytest.mark.parametrize("output", ["out", "pyproject.toml"])
def test_what_is_no_artifact_is_one_line_with_output_too(tmp_path: Path, output: str) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    result = mlbundle("optimize", "pyproject.toml", "-o", output, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "pyproject.toml: is neither a wheel" in line or "pyproject.toml: a file is in its place" in line


def test_plan_changes_nothing_and_says_why(wheel: Path) -> None:
    original = wheel.read_bytes()
    result = mlbundle("plan", wheel)
    assert "nothing that stays imports or opens it" in " ".join(result.stdout.split())
    planned = json.loads(mlbundle("plan", wheel, "--json").stdout)
    assert [step["optimizer"] for step in planned] == ["test_data", "exclude", "strip"]
    assert {change["path"] for change in planned[0]["changes"]} >= {"pkg/tests/test_pkg.py"}
    assert wheel.read_bytes() == original
    assert not wheel.with_name(wheel.name + SUFFIX).exists()


def test_analyze_as_table_and_as_manifest(wheel: Path) -> None:
    table = mlbundle("analyze", wheel)
    assert "pkg/model.bin" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80
    manifest = Manifest.from_json(mlbundle("analyze", wheel, "--json").stdout)
    assert manifest.artifact.before == manifest.artifact.after
    assert manifest.artifact.after.size == wheel.stat().st_size


def test_plugins_lists_every_optimizer_with_its_options() -> None:
    entries = {entry["name"]: entry for entry in json.loads(mlbundle("plugins", "--json").stdout)}
    assert entries.keys() >= {"test_data", "exclude", "exclude_modules", "python_sources", "strip"}
    assert {option["name"] for option in entries["strip"]["options"]} >= {"tool", "debug-files", "load-check"}
    assert "load-check" in mlbundle("plugins").stdout


def test_cache_shows_prunes_and_clears(wheel: Path) -> None:
    assert mlbundle("optimize", wheel).returncode == 0
    shown = json.loads(mlbundle("cache", "--json").stdout)
    assert shown["entries"] > 0
    assert json.loads(mlbundle("cache", "prune", "--json").stdout)["removed"] == 0
    cleared = json.loads(mlbundle("cache", "clear", "--json").stdout)
    assert (cleared["entries"], cleared["size"], cleared["removed"]) == (0, 0, shown["size"])


def test_quiet_says_nothing_and_no_cache_keeps_nothing(wheel: Path) -> None:
    result = mlbundle("optimize", "-q", "--no-cache", wheel)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert json.loads(mlbundle("cache", "--json").stdout)["entries"] == 0


def test_options_of_the_command_line_win_over_the_project(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\noptimizers = ["strip"]\n')
    assert "test_data" not in mlbundle("optimize", wheel, "-o", "out", cwd=tmp_path).stdout
    assert "test_data" in mlbundle("optimize", wheel, "-O", "test_data", "-o", "out", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimize", "nowhere.whl"], "nowhere.whl: does not exist"),
        (["optimize", "pyproject.toml"], "pyproject.toml: is neither a wheel (.whl), a folder, a container image nor an executable"),
        (
            ["optimize", "-O", "stripp", "x-1-py3-none-any.whl"],
            "tool.mlbundle.optimizers[0]: unknown optimizer 'stripp'; did you mean 'strip'?",
        ),
        (["optimize", "empty-1.0-py3-none-any.whl"], "empty-1.0-py3-none-any.whl"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "empty-1.0-py3-none-any.whl").write_bytes(b"")
    result = mlbundle(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert message in line


def test_strict_finding_is_exit_code_1(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle.exclude]\npaths = ["no/such/*.file"]\n')
    original = wheel.read_bytes()
    result = mlbundle("optimize", "--strict", wheel, cwd=tmp_path)
    assert result.returncode == 1
    assert "nothing was replaced" in result.stderr
    assert wheel.read_bytes() == original


def test_colour_on_a_terminal_only_and_never_with_no_color(wheel: Path) -> None:
    assert "\x1b[" not in mlbundle("analyze", wheel).stdout
    assert "\x1b[3" in on_a_terminal("analyze", str(wheel), TERM="xterm-256color", NO_COLOR="")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", on_a_terminal("analyze", str(wheel), TERM="xterm-256color", NO_COLOR="1"))


def test_closed_pipe_is_no_fault(wheel: Path) -> None:
    command = f"{sys.executable} -m hatch_mlbundle analyze --json {wheel} | head -c 10"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment(), capture_output=True, text=True, check=False)
    assert result.stderr == ""


def test_interrupt_leaves_the_wheel_and_no_litter(tmp_path: Path) -> None:
    files = {**FILES, **{f"pkg/data{number}.bin": os.urandom(1 << 20) for number in range(60)}}
    wheel = build_wheel(tmp_path, files)
    original = wheel.read_bytes()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "--no-cache", str(wheel)]
    process = subprocess.Popen(command, env=environment(TMPDIR=str(scratch)), stderr=subprocess.PIPE, text=True)
    while not any(scratch.iterdir()) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    if process.returncode:
        assert complaint.splitlines() == ["mlbundle: interrupted"]
        assert wheel.read_bytes() == original
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    assert list(scratch.iterdir()) == []


def on_a_terminal(*arguments: str, **more: str) -> str:
    """Run the command with a terminal for its output, and return what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "hatch_mlbundle", *arguments], stdout=theirs, stderr=theirs, env=environment(**more))
    os.close(theirs)
    output = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        output += chunk
    process.wait()
    os.close(ours)
    return output.decode()


def test_a_wheel_keeps_its_name_and_version(wheel: Path, tmp_path: Path) -> None:
    result = mlbundle("optimize", wheel, "-o", tmp_path / "x.whl")
    assert result.returncode == 2
    assert "name and version must stay" in result.stderr
    assert not (tmp_path / "x.whl").exists()


def test_a_termination_tidies_up(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {**FILES, **{f"pkg/data{number}.bin": os.urandom(1 << 20) for number in range(60)}})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "hatch_mlbundle", "optimize", "-q", "--no-cache", str(wheel)]
    process = subprocess.Popen(command, env=environment(TMPDIR=str(scratch)))
    while not any(scratch.iterdir()) and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=60) in (0, 143)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("rows", ["-1", "many"])
def test_a_number_of_rows_is_a_number(wheel: Path, rows: str) -> None:
    assert mlbundle("analyze", wheel, f"--top={rows}").returncode == 2
