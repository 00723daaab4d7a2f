"""Standard output whose reader has gone, or that a full disk is behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import environment

FULL = Path("/dev/full")
COMMANDS = (["analyze", "app"], ["analyze", "app", "--json"], ["analyze", "app", "--html", "-"], ["plugins", "--json"], ["cache"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle.budget]\ninstalled = "1 B"\n')
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "data.bin").write_bytes(bytes(1000))
    return tmp_path


def run(project: Path, arguments: list[str], output: int, buffering: str) -> tuple[int, str]:
    """Return the exit code and what is said on standard error; with an empty `buffering`, output stays in Python's buffer for long."""
    command = [sys.executable, "-m", "hatch_mlbundle", *arguments]
    env = environment(PYTHONUNBUFFERED=buffering)
    result = subprocess.run(command, cwd=project, env=env, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    return result.returncode, result.stderr


def into_closed_pipe(project: Path, *arguments: str, buffering: str) -> tuple[int, str]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return run(project, [*arguments], writer, buffering)
    finally:
        os.close(writer)


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_reader_that_has_gone_is_no_fault(arguments: list[str], buffering: str, project: Path) -> None:
    assert into_closed_pipe(project, *arguments, buffering=buffering) == (0, "")


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("option", [[], ["--json"], ["--markdown", "-"]])
def test_a_breach_is_one_whoever_reads(option: list[str], buffering: str, project: Path) -> None:
    code, said = into_closed_pipe(project, "check", "app", *option, buffering=buffering)
    assert (code, said.count("\n")) == (1, 1)
    assert "budget: installed is 1.00 kB" in said


@pytest.mark.skipif(not FULL.exists(), reason="Linux's device that is always full")
@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_full_disk_is_told_in_one_line(arguments: list[str], buffering: str, project: Path) -> None:
    with FULL.open("w") as full:
        code, said = run(project, arguments, full.fileno(), buffering)
    assert (code, said) == (2, "mlbundle: cannot write to standard output (No space left on device); send it elsewhere\n")


@pytest.mark.skipif(not FULL.exists(), reason="Linux's device that is always full")
def test_a_device_that_is_full_is_told_in_one_line(project: Path) -> None:
    code, said = run(project, ["analyze", "app", "--html", str(FULL)], subprocess.DEVNULL, "1")
    assert (code, said.count("\n")) == (2, 1)
    assert "disk full while writing /dev/full" in said
