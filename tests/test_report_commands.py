from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.cli import main
from hatch_mlbundle.command_options import report
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.report_commands import STDOUT
from tests.projects import environment

REPORTS = {
    "analyze": ("html", "markdown", "svg", "png"),
    "compare": ("html", "markdown"),
    "check": ("html", "markdown", "junit", "sarif", "manifest"),
}
EVERY = [(command, report) for command, reports in REPORTS.items() for report in reports]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small folder, in a current folder of its own that has no pyproject.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app" / "pkg").mkdir(parents=True)
    (tmp_path / "app" / "pkg" / "a.py").write_text("x = 1\n")
    (tmp_path / "app" / "pkg" / "b.py").write_text("x = 1\n")
    return tmp_path / "app"


def subjects(command: str, app: Path) -> list[str]:
    return [str(app), str(app)] if command == "compare" else [str(app)]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line that a command says when it is used wrongly."""
    assert main([*map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize(("command", "report"), EVERY)
def test_no_report_goes_into_or_over_what_is_read(command: str, report: str, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(app.rglob("*"))
    for place in (app / "report", app / "pkg" / "a.py", app):
        line = refused(capsys, command, *subjects(command, app), f"--{report}", place)
        assert "is app or lies in it, which stays as it is" in line
    assert sorted(app.rglob("*")) == before


@pytest.mark.parametrize(("command", "report"), EVERY)
def test_places_are_checked_before_the_work(command: str, report: str, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The artifact is not even there."""
    missing = subjects(command, app.parent / "missing")
    assert "there is no such folder" in refused(capsys, command, *missing, f"--{report}", app.parent / "none" / "r")
    assert "is a folder; name a file" in refused(capsys, command, *missing, f"--{report}", app)


@pytest.mark.parametrize("place", ["same", "./same", "-"])
def test_two_reports_do_not_go_to_one_place(place: str, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "analyze", app, "--html", "same" if place != "-" else "-", "--markdown", place)
    assert line.startswith(f"mlbundle: --markdown: goes to {Path(place)}, as --html does")


def test_json_has_standard_output_for_itself(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "as --json does" in refused(capsys, "analyze", app, "--json", "--markdown", "-")


def test_the_manifest_that_is_read_is_not_written_over(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(app), "--json"]) == 0
    place = app.parent / "app.json"
    place.write_text(capsys.readouterr().out)
    assert "stays as it is" in refused(capsys, "analyze", place, "--html", place)
    assert Manifest.load(place).artifact.name == "app"


def test_a_terminal_gets_no_png(app: Path) -> None:
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "hatch_mlbundle", "analyze", str(app), "--png", "-"]
    result = subprocess.run(command, env=environment(), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writer)
    os.close(reader)
    assert (result.returncode, b"a terminal cannot show it" in result.stderr) == (2, True)


def test_a_baseline_that_is_named_has_to_be_there(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing.json: does not exist" in refused(capsys, "check", app, "--baseline", "missing.json")


def test_a_configured_baseline_that_is_not_there_yet_is_only_told(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app.parent / "pyproject.toml").write_text(
        '[tool.mlbundle.budget]\nbaseline = "old.json"\ninstalled-growth = "1 MB"\ninstalled = "1 MB"\n'
    )
    assert main(["check", str(app), "--json"]) == 0
    statuses = {row["limit"]: row["status"] for row in json.loads(capsys.readouterr().out)["limits"]}
    assert sorted(statuses.values()) == ["ok", "unmeasured"]


def test_check_fails_over_a_limit_with_and_without_hashes_in_the_manifest(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app.parent / "pyproject.toml").write_text('[tool.mlbundle.budget]\ninstalled = "11 B"\n')
    assert main(["check", str(app), "--quiet"]) == 1
    assert main(["analyze", str(app), "--no-hashes", "--json"]) == 0
    (app.parent / "sizes.json").write_text(capsys.readouterr().out)
    assert main(["check", str(app.parent / "sizes.json")]) == 1


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"format": "\\u001b[31m"}', "[" * 100_000, "\x00", '{"format_version": "1.0"}'])
@pytest.mark.parametrize("command", ["analyze", "compare", "check"])
def test_a_hostile_manifest_is_told_in_one_line(command: str, text: str, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = app.parent / "hostile.json"
    place.write_text(text)
    assert "hostile.json: is no" in refused(capsys, command, *subjects(command, place))


def test_analysis_of_what_is_not_there(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for hashes in ([], ["--no-hashes"]):
        assert "does not exist" in refused(capsys, "analyze", app.parent / "missing", *hashes)


def test_without_hashes_duplicates_are_not_known(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(app)]) == 0
    assert "duplicates" in capsys.readouterr().out
    assert main(["analyze", str(app), "--no-hashes"]) == 0
    assert "duplicates unknown: files were not hashed" in capsys.readouterr().out


def test_what_lies_beside_and_cannot_be_read_is_shown(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app.parent / "app.mlbundle.json").write_text("{")
    assert main(["analyze", str(app)]) == 0
    assert "MB811 app.mlbundle.json beside it is left aside" in capsys.readouterr().out


def test_suggestions_are_in_table_and_json(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "pkg" / "tests").mkdir()
    for name in ("pkg/__init__.py", "pkg/tests/__init__.py"):
        (app / name).touch()
    (app / "pkg" / "tests" / "test_a.py").write_text("def test_a():\n    assert True\n" * 100)
    assert main(["analyze", str(app), "--suggest"]) == 0
    said = capsys.readouterr().out
    assert "could save 3.00 kB  test_data  2 files\n  # nothing to add: mlbundle optimize app" in said
    assert max(map(len, said.splitlines())) <= 80
    assert main(["analyze", str(app), "--suggest", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["suggestions"]
    assert (row["optimizer"], row["saved"], row["lossless"]) == ("test_data", {"installed": 3000, "compressed": None}, True)


def test_a_look_at_sizes_imports_no_optimizer(app: Path) -> None:
    """Starting is most of what it does."""
    script = "import sys; from hatch_mlbundle.cli import main; main(sys.argv[1:]); print(*sorted(sys.modules), file=sys.stderr)"
    command = [sys.executable, "-c", script, "analyze", str(app), "--no-hashes"]
    loaded = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stderr.split()
    needed = "hatch_mlbundle.bundles.survey"
    costly = ("optimizers", "plugins", "application", "session", "job", "verification.verify", "accuracy.judge", "models")
    assert needed in loaded
    foreign = ("pluggy", "numpy", "packaging", "concurrent.futures")
    assert [name for name in loaded if name in foreign or name.startswith(tuple(f"hatch_mlbundle.{each}" for each in costly))] == []


def test_a_report_on_standard_output_has_it_for_itself(app: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["check", str(app), "--sarif", "-"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["version"] == "2.1.0"
    assert main(["check", str(app), "--sarif", str(app.parent / "a.sarif"), "--quiet"]) == 0
    assert json.loads((app.parent / "a.sarif").read_bytes())["version"] == "2.1.0"
    assert capsysbinary.readouterr().out == b""


def test_a_pipe_is_written_into_and_not_replaced(app: Path) -> None:
    pipe = app.parent / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        assert main(["check", str(app), "--quiet", "--sarif", str(pipe)]) == 0
        told, _ = reader.communicate(timeout=60)
    assert json.loads(told)["version"] == "2.1.0"
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="descriptors have names on some systems only")
def test_a_shell_may_read_a_report_through_a_descriptor(app: Path) -> None:
    """What bash makes of `--sarif >(cat)`."""
    reader, writer = os.pipe()
    try:
        assert main(["check", str(app), "--quiet", "--sarif", f"/dev/fd/{writer}"]) == 0
    finally:
        os.close(writer)
    with open(reader, "rb") as stream:  # noqa: PTH123 - a descriptor
        assert json.loads(stream.read())["version"] == "2.1.0"


def test_a_link_to_a_report_stays_one(app: Path) -> None:
    place, link = app.parent / "report.sarif", app.parent / "latest.sarif"
    place.write_text("old")
    link.symlink_to(place)
    assert main(["check", str(app), "--quiet", "--sarif", str(link)]) == 0
    assert link.is_symlink()
    assert json.loads(place.read_bytes())["version"] == "2.1.0"


def test_another_name_of_standard_output_is_no_file(app: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert report("/dev/stdout") == STDOUT
    assert main(["check", str(app), "--sarif", str(report("/dev/stdout"))]) == 0
    assert json.loads(capsysbinary.readouterr().out)["version"] == "2.1.0"


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_that_is_too_long_is_told_in_one_line(length: int, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the name is too long while writing" in refused(capsys, "analyze", app, "--quiet", "--html", "a" * length)


def test_a_link_that_leads_back_to_itself_is_replaced(app: Path) -> None:
    link = app.parent / "report.sarif"
    link.symlink_to(link.name)
    assert main(["check", str(app), "--quiet", "--sarif", str(link)]) == 0
    assert json.loads(link.read_bytes())["version"] == "2.1.0"


@pytest.mark.parametrize("option", [[], ["--no-hashes"]])
@pytest.mark.parametrize("name", ["loop", "a" * 300, "a" * 300 + ".whl", "a" * 300 + ".json", "b\x1b[31m\nc"])
@pytest.mark.parametrize("command", ["analyze", "plan", "optimize", "check", "compare"])
def test_what_can_be_no_artifact_is_told_in_one_line(
    command: str, name: str, option: list[str], app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (app.parent / "loop").symlink_to("loop")
    line = refused(capsys, *([command, name, app] if command == "compare" else [command, name]), *(option if command == "analyze" else []))
    assert line.isprintable()
    assert "cannot be read: " in line or "does not exist" in line
