"""What a download shows on a terminal, and that it shows nothing elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import time
from pathlib import Path

import pytest

from hatch_mlbundle.runtime.progress_line import Progress


def show(monkeypatch: pytest.MonkeyPatch, name: str = "blip", columns: int = 80, size: int = 2_000_000_000) -> str:
    """Return what a download that takes a second writes to a terminal."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(slave, "w", encoding="ascii") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Progress(name, size) as told:
            for _ in range(100):
                told(size // 100)
                time.sleep(0.01)
            told(-size // 2)
            told(size // 2)
        written = b""
        while not written.endswith(b"\n"):
            written += os.read(master, 1 << 16)
    os.close(master)
    return written.decode("ascii")


def test_a_line_that_is_drawn_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(monkeypatch)
    lines = shown.removesuffix("\r\n").split("\r")[1:]
    assert 3 <= len(lines) <= 7
    assert {len(line) for line in lines} == {79}
    assert re.match(r"blip +\d+%  [\d,]+\.\d of 2,000\.0 MB, [\d,]+\.\d MB/s, 0:0\d left +$", lines[0])
    assert lines[-1].startswith("blip 100%  2,000.0 of 2,000.0 MB, ")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(("name", "columns"), [("a" * 200, 80), ("blip", 20), ("blip", 1), ("bl\u00efp\x1b[2J", 80)])
def test_any_name_and_any_terminal(monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    lines = show(monkeypatch, name, columns).removesuffix("\r\n").split("\r")
    assert all(len(line) < columns for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_no_terminal_no_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        with Progress("blip", 100) as told:
            time.sleep(0.3)
            told(100)
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize("state", ["none", "closed", "gone"])
def test_standard_error_that_is_not_there(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    master, slave = pty.openpty()
    terminal = os.fdopen(slave, "w")
    monkeypatch.setattr(sys, "stderr", None if state == "none" else terminal)
    if state == "closed":
        terminal.close()
    with Progress("blip", 100) as told:
        if state == "gone":
            os.close(master)
        time.sleep(0.3)
        told(100)
    if state != "gone":
        os.close(master)
    with contextlib.suppress(OSError):
        terminal.close()
