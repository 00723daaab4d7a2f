from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import pytest

from hatch_mlbundle import __version__
from hatch_mlbundle.crash import report


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def crash(message: str) -> Exception:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def test_one_line_for_the_person_and_the_story_in_a_file(folder: Path) -> None:
    line = report(crash("first\nsecond   third"))
    (log,) = folder.iterdir()
    assert line.startswith("mlbundle: this is a bug of ours (RuntimeError: first second third)")
    assert "\n" not in line
    assert line.endswith(str(log))
    story = log.read_text(encoding="utf-8")
    assert f"hatch-mlbundle {__version__}" in story
    assert "Traceback (most recent call last)" in story
    assert "in crash" in story
    assert "first\nsecond" in story


def test_each_crash_has_a_file_of_its_own(folder: Path) -> None:
    lines = {report(crash("x")) for _ in range(3)}
    assert len(lines) == len(list(folder.iterdir())) == 3


def test_the_log_is_for_its_owner_alone(folder: Path) -> None:
    report(crash("x"))
    (log,) = folder.iterdir()
    assert re.fullmatch(r"mlbundle-crash-\w+\.log", log.name)
    assert log.stat().st_mode & 0o077 == 0


def test_names_that_are_not_unicode_are_no_second_crash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mlbundle", "\udcfe.whl"])
    line = report(crash("\udcff.py"))
    assert r"(RuntimeError: \udcff.py)" in line
    (log,) = folder.iterdir()
    story = log.read_text(encoding="utf-8")
    assert r"RuntimeError: \udcff.py" in story
    assert r"mlbundle \udcfe.whl" in story


def test_where_no_log_can_be_written_the_story_is_told_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "absent"))
    line = report(crash("first \udcff"))
    end = "Please report it with the text above (no log can be written: No such file or directory)"
    assert line == rf"mlbundle: this is a bug of ours (RuntimeError: first \udcff). {end}"
    story = capsys.readouterr().err
    assert f"hatch-mlbundle {__version__}" in story
    assert "in crash" in story


def test_what_nobody_knows_is_not_claimed(folder: Path) -> None:
    assert "replaced" not in report(crash("x"))
