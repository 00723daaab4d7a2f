"""Completion by real shells: what stands on the line after the tabulator key."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatch_mlbundle.completion_command import SHELLS
from hatch_mlbundle.config import DEFAULT_OPTIMIZERS
from tests.projects import environment

PATIENCE = 30.0
"""Seconds for what is expected to appear."""

INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit && compinit -u -D && eval "$(<{script})"'),
    "fish": (["fish", "--no-config", "-i"], "source {script}"),
}

LINES = [
    ("mlbundle optimi", "mlbundle optimize "),
    ("mlbundle optimize --no-v", "mlbundle optimize --no-verify "),
    ("mlbundle optimize -O dedup", "mlbundle optimize -O deduplicate "),
    ("mlbundle analyze --suggest my-w", "mlbundle analyze --suggest my-wheel.whl "),
    ("mlbundle analyze --html my-w", "mlbundle analyze --html my-wheel.whl "),
    ("mlbundle cache pr", "mlbundle cache prune "),
    ("mlbundle check --project my-f", "mlbundle check --project my-folder/"),
]


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, path: str) -> None:
        self.ours, theirs = pty.openpty()
        surroundings = environment(PATH=path, TERM="dumb", PS1="$ ", HOME=str(folder), COLUMNS="120")
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=surroundings, start_new_session=True
        )
        os.close(theirs)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def expect(self, text: str) -> None:
        """Wait until the terminal shows this text, escape sequences left out, and go past it."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert select.select([self.ours], [], [], max(0.0, end - time.monotonic()))[0], f"{text!r} is not in {self.seen!r}"
            self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\r\x07]", "", os.read(self.ours, 65536).decode(errors="replace"))
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the command, files to complete, and a script for each shell."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    program = folder / "bin" / "mlbundle"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hatch_mlbundle "$@"\n')
    program.chmod(0o755)
    (folder / "my-wheel.whl").touch()
    (folder / "my-folder").mkdir()
    for shell in SHELLS:
        (folder / f"script.{shell}").write_text(script_for(shell))
    return folder


def script_for(shell: str) -> str:
    command = [sys.executable, "-m", "hatch_mlbundle", "completion", shell]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    command, start = INTERACTIVE[request.param]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not there")
    shell = Terminal(command, folder, f"{folder / 'bin'}:{environment()['PATH']}")
    try:
        shell.type(start.format(script=folder / f"script.{request.param}") + " && echo rea''dy\n")
        shell.expect("ready")
        yield shell
    finally:
        shell.close()


def test_the_tabulator_completes_commands_options_optimizers_and_files(terminal: Terminal) -> None:
    for typed, completed in LINES:
        terminal.type(f"{typed}\t")
        terminal.expect(completed)
        terminal.type("\x15\n")  # Ctrl-U: away with the line


@pytest.mark.parametrize(("typed", "completed"), LINES)
def test_fish_completes_the_same(folder: Path, typed: str, completed: str) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not there")
    line = f"source {folder / 'script.fish'}; complete -C '{typed}'"
    surroundings = environment(PATH=f"{folder / 'bin'}:{environment()['PATH']}", HOME=str(folder))
    done = subprocess.run(["fish", "--no-config", "-c", line], cwd=folder, env=surroundings, capture_output=True, text=True, check=True)
    assert completed.split()[-1] in [each.partition("\t")[0] for each in done.stdout.splitlines()]


def test_names_are_those_of_every_optimizer() -> None:
    command = [sys.executable, "-m", "hatch_mlbundle", "plugins", "--names"]
    names = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout.split()
    assert set(names) >= set(DEFAULT_OPTIMIZERS)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_the_same_each_time_and_in_any_width(shell: str) -> None:
    command = [sys.executable, "-m", "hatch_mlbundle", "completion", shell]
    narrow, wide = (
        subprocess.run(command, env=environment(COLUMNS=columns, PYTHONHASHSEED=columns), capture_output=True, text=True, check=True).stdout
        for columns in ("60", "200")
    )
    assert narrow == wide
