"""`mlbundle check`: its table, its lines, its exit code, and the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hatch_mlbundle.cli import main
from hatch_mlbundle.manifest import Manifest
from tests.budgetsmith import MB, WHEEL, file_row, manifest_of

ROWS = [file_row("torch/lib.so", 97 * MB, owner="torch"), file_row("app/a.py", MB)]
TABLE = '[tool.mlbundle.budget]\ninstalled = "90 MB"\nstartup = 1.5\n'
FROZEN = '[tool.hatch.build.targets.frozen.mlbundle.budget]\ninstalled = "1 GB"\n'


def project(folder: Path, table: str = TABLE, **manifests: Manifest) -> Path:
    (folder / "pyproject.toml").write_text(table)
    for name, manifest in {"now": manifest_of(ROWS), **manifests}.items():
        manifest.save(folder / f"{name}.json")
    return folder


def check(folder: Path, *arguments: str, subject: str = "now.json") -> int:
    return main(["check", str(folder / subject), "--project", str(folder), *arguments])


def test_the_table_goes_to_standard_output_and_breaches_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project(tmp_path)) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == WHEEL
    assert "over 1 limit of 2" in told.out
    assert told.err.splitlines() == [
        "mlbundle: budget: installed is 98.0 MB, 8.00 MB over the 90.0 MB allowed (torch 97.0 MB, app 1.00 MB)"
    ]


def test_a_project_that_is_not_there_has_no_limits_to_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = project(tmp_path) / "now.json"
    assert main(["check", str(artifact), "--project", str(tmp_path / "packages\n")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("/packages\\n: is no folder; name the one with the pyproject.toml")


def test_kept_limits_are_exit_code_0_and_quiet_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path, TABLE.replace("90 MB", "98 MB"))
    assert check(folder, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert check(folder) == 0
    assert "1 limit kept, 1 not measured" in capsys.readouterr().out


def test_a_baseline_by_the_command_line_counts_instead_of_the_configured_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = '[tool.mlbundle.budget]\nbaseline = "now.json"\ninstalled-growth = "1 MB"\n'
    folder = project(tmp_path, table, former=manifest_of(ROWS[1:]))
    assert check(folder) == 0
    assert check(folder, "--baseline", str(folder / "former.json")) == 1
    assert "installed-growth is 97.0 MB, 96.0 MB over the 1.00 MB allowed (torch +97.0 MB)" in capsys.readouterr().err


def test_reports_are_written_though_a_limit_is_exceeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path)
    assert check(folder, "--junit", str(tmp_path / "j.xml"), "--sarif", str(tmp_path / "s.json"), "--json") == 1
    assert json.loads(capsys.readouterr().out)["kept"] is False
    assert ET.parse(tmp_path / "j.xml").getroot().get("failures") == "1"
    results = json.loads((tmp_path / "s.json").read_text())["runs"][0]["results"]
    lines = [each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in results]
    assert [(each["ruleId"], line) for each, line in zip(results, lines, strict=True)] == [("budget", 2), ("MB821", 3)]


def test_a_report_on_standard_output_has_it_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project(tmp_path), "--junit", "-") == 1
    assert ET.fromstring(capsys.readouterr().out).tag == "testsuites"


def test_sarif_points_into_the_repository_that_the_project_is_a_part_of(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "a part"
    folder.mkdir()
    project(folder)
    assert check(folder, "--sarif", str(tmp_path / "s.json"), "--quiet") == 1
    assert '"uri": "a%20part/pyproject.toml"' in (tmp_path / "s.json").read_text()


def test_without_a_pyproject_there_is_nothing_to_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path)
    (folder / "pyproject.toml").unlink()
    assert check(folder, "--sarif", str(tmp_path / "s.json")) == 0
    assert "no limits" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["runs"][0]["results"] == []


def test_a_frozen_bundle_has_the_table_of_its_target(tmp_path: Path) -> None:
    folder = project(tmp_path, TABLE + FROZEN, frozen=manifest_of(ROWS, kind="frozen", name="app"))
    assert check(folder) == 1
    assert check(folder, subject="frozen.json") == 0


def test_what_the_configuration_ignores_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project(tmp_path, f'[tool.mlbundle]\nignore = ["MB82"]\n{TABLE}'), "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"] == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "mlbundle-manifest", "format_version": "2.0"}'])
def test_a_baseline_that_is_none_is_one_line(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path, f'{TABLE}baseline = "base.json"\n')
    (folder / "base.json").write_text(content)
    assert check(folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "base.json" in line


def test_the_configured_baseline_is_a_manifest_as_in_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path, f'{TABLE}baseline = "base.json"\n')
    (folder / "base.json").mkdir()
    assert check(folder) == 2
    assert "base.json: cannot be read (Is a directory)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--baseline", "--junit", "--project"])
def test_a_name_that_is_too_long_is_one_line(tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project(tmp_path), option, f"{'x' * 300}.json") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "name" in told
    assert "too long" in told
