"""The tutorials, from their first line to their last, in a fresh folder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.trials.jail import available
from tests.docs.snippets import SHELLS, Command, Snippet, commands, snippets
from tests.projects import REPOSITORY, environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the tutorials are for Linux")]

SET_UP = re.compile(r"python -m venv |source |pip install |mkdir (letters|near)$|cd ")
"""Commands that make the environment, which a test has already, and the folder."""

ADD = "Add to "
"""How a sentence ends that has a block added to a file, not written as all of it."""


def file_of(snippet: Snippet) -> tuple[str, bool]:
    """Return the file that the line above a block names at its end, and whether the block is to be added to it."""
    lines = (REPOSITORY / snippet.page).read_text(encoding="utf-8").splitlines()
    above = lines[: snippet.line - 1]
    while not above[-1]:
        above.pop()
    sentence = " ".join(above[-3:])
    named = re.findall(r"`([\w./]+\.(?:py|toml))`", sentence)
    assert named, f"{snippet}: no file is named above it"
    return named[-1], f"{ADD}`{named[-1]}`" in sentence


def write(snippet: Snippet, folder: Path) -> None:
    name, added = file_of(snippet)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") + "\n" if added else ""
    path.write_text(before + snippet.text, encoding="utf-8")


def masked(line: str) -> str:
    """Return a line without what another release of Python, a compiler or the clock decides: figures, bars and spaces."""
    figures = re.sub(r"\d[\d.,]*( [kM]?B)?", "0", line)
    return " ".join(re.sub(r"[#.]{5,}", "", figures).replace("0 → 0", "0").split())


def run(command: Command, folder: Path, programs: Path) -> None:
    """Run a command; the lines that are shown have to be among those that it prints, in their order."""
    env = environment(MLBUNDLE_CACHE_DIR=str(folder.parent / "cache"))
    env["PATH"] = f"{programs}:{env['PATH']}"
    script = f"set -e\n{command.text}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout
    printed = iter([masked(line) for line in done.stdout.splitlines()])
    for line in command.shown:
        assert masked(line) in printed, f"{command.text}\n{line!r} is not in, or not in its place in\n{done.stdout}"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder with the programs of an environment in which the project is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, arguments in {"python": "", "mlbundle": " -m hatch_mlbundle", "pip": " -m pip"}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("page", ["docs/tutorial-frozen.md", "docs/tutorial-wheel.md"])
def test_it_can_be_followed(page: str, tmp_path: Path, programs: Path) -> None:
    if page.endswith("frozen.md"):
        pytest.importorskip("PyInstaller")
        if available() is not None:
            pytest.skip(str(available()))
    folder = tmp_path / "project"
    folder.mkdir()
    for snippet in snippets():
        if snippet.page == page and snippet.language in SHELLS:
            for command in commands(snippet):
                if not SET_UP.match(command.text):
                    run(command, folder, programs)
        elif snippet.page == page:
            write(snippet, folder)
