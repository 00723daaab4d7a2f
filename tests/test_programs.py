from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.errors import MissingProgramError, ProgramError
from hatch_mlbundle.programs import Program, find_program, look_for_program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def script(folder: Path, body: str, name: str = "shrinker") -> Program:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return Program(name, path)


def test_it_is_found_on_path(bin_folder: Path) -> None:
    expected = script(bin_folder, "true")
    assert find_program("shrinker", wanted_by="x", install="y") == expected
    assert look_for_program("no-such-shrinker", "shrinker") == expected


def test_a_missing_one_is_named_with_its_option_and_remedy() -> None:
    with pytest.raises(MissingProgramError) as caught:
        find_program("no-such-shrinker", wanted_by='strip.tool = "no-such"', install="apt-get install shrinker")
    message = str(caught.value)
    assert "no-such-shrinker" in message
    assert 'strip.tool = "no-such"' in message
    assert "apt-get install shrinker" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ("printf 'shrinker\\t 1.2\\r\\nmore'", "shrinker 1.2"),
        ("printf '\\n\\nshrinker 3'", "shrinker 3"),
        ("echo shrinker, like GNU; echo '  Some version 14.0'", "Some version 14.0"),
        ("echo shrinker 4 >&2", "shrinker 4"),
        ("exit 3", "unknown"),
        ("true", "unknown"),
    ],
)
def test_version_is_the_first_line_with_a_number_cleaned(bin_folder: Path, body: str, version: str) -> None:
    assert script(bin_folder, body).version() == version


def test_run_passes_arguments_as_they_are_and_returns_the_output(bin_folder: Path) -> None:
    assert script(bin_folder, 'printf "%s|" "$@"').run(["a b", Path("c;d"), "$HOME"]) == "a b|c;d|$HOME|"


def test_run_works_in_a_folder(bin_folder: Path, tmp_path: Path) -> None:
    assert script(bin_folder, "pwd").run([], folder=tmp_path).strip() == str(tmp_path.resolve())


def test_it_gets_a_plain_environment_and_no_input(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    output = script(bin_folder, "env; wc -c").run([])
    assert "hunter2" not in output
    assert "LC_ALL=C\n" in output
    assert output.split()[-1] == "0"


def test_failure_is_one_line_with_status_and_last_message(bin_folder: Path) -> None:
    with pytest.raises(ProgramError, match=r"\Ashrinker: failed with exit status 3: no room\Z"):
        script(bin_folder, "echo first >&2; echo no room >&2; exit 3").run([])


def test_a_crash_names_the_signal(bin_folder: Path) -> None:
    with pytest.raises(ProgramError, match="SIGSEGV"):
        script(bin_folder, "kill -SEGV $$").run([])


def test_time_is_limited(bin_folder: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ProgramError, match=r"stopped after 0.2 seconds"):
        script(bin_folder, "exec sleep 20").run([], seconds=0.2)
    assert time.monotonic() - start < 10


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="cannot be started"):
        Program("gone", tmp_path / "gone").run([])
