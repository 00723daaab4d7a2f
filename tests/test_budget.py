from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hatch_mlbundle.budget import BudgetCheck, Performance, format_amount
from hatch_mlbundle.manifest import BudgetRow, Manifest, PackedRow
from tests.budgetsmith import HOSTILE, MB, checked, file_row, manifest_of, only

TORCH = file_row("torch/lib.so", 500 * MB, owner="torch", kind="elf")
NUMPY = file_row("numpy/core.so", 30 * MB, owner="numpy", kind="elf")
APP = file_row("app/main.py", MB, owner="app", kind="python")
ROWS = (TORCH, NUMPY, APP)
NOW = manifest_of(ROWS)
FOLDER = manifest_of(ROWS, kind="frozen", name="app")
BEFORE = manifest_of(
    [file_row("torch/lib.so", 486 * MB, owner="torch", kind="elf"), file_row("numpy/core.so", 29 * MB, owner="numpy"), APP]
)
REASON = "new kernels, under again by 1.3"


def overridden(limit: str, **more: Any) -> dict[str, Any]:
    return {"overrides": [{"limit": limit, "reason": REASON, **more}]}


@pytest.mark.parametrize(
    ("key", "exactly"),
    [("installed", 531 * MB), ("compressed", NOW.artifact.after.size), ("files", 3)],
)
def test_a_limit_is_kept_exactly_at_it_and_exceeded_by_one_more(key: str, exactly: int) -> None:
    assert only(checked({key: exactly}, NOW)).status == "ok"
    over = only(checked({key: exactly - 1}, NOW))
    assert (over.status, over.actual, over.allowed) == ("over", exactly, exactly - 1)


def test_a_breach_is_one_line_with_what_is_largest() -> None:
    assert checked({"installed": "500 MB"}, NOW).lines() == (
        "budget: installed is 531 MB, 31.0 MB over the 500 MB allowed (torch 500 MB, numpy 30.0 MB, app 1.00 MB)",
    )


def test_a_breach_names_what_grew_most_since_the_baseline() -> None:
    assert checked({"installed": "500 MB", "installed-growth": "5 MB"}, NOW, BEFORE).lines() == (
        "budget: installed is 531 MB, 31.0 MB over the 500 MB allowed (torch +14.0 MB, numpy +1.00 MB)",
        "budget: installed-growth is 15.0 MB, 10.0 MB over the 5.00 MB allowed (torch +14.0 MB, numpy +1.00 MB)",
    )


def test_three_owners_are_named_whose_names_differ() -> None:
    rows = [file_row(f"p{number}/a", number * MB, owner=f"p{number}") for number in range(1, 9)]
    (line,) = checked({"files": 1}, manifest_of(rows)).lines()
    assert line == "budget: files is 8, 7 over the 1 allowed (p1 1, p2 1, p3 1)"
    (line,) = checked({"installed": 1}, manifest_of(rows)).lines()
    assert line.endswith("(p8 8.00 MB, p7 7.00 MB, p6 6.00 MB)")


def test_growth_in_percent() -> None:
    assert only(checked({"installed-growth-percent": 3.0}, NOW, BEFORE)).actual == pytest.approx(100 * 15 / 516)
    assert only(checked({"installed-growth-percent": 2.9}, NOW, BEFORE)).status == "over"


@pytest.mark.parametrize(("growth", "status"), [(11, "ok"), (12, "over")])
def test_a_percentage_that_binary_fractions_miss_is_kept_exactly_at_it(growth: int, status: str) -> None:
    before, after = (manifest_of([file_row("a", size)]) for size in (1000, 1000 + growth))
    assert only(checked({"installed-growth-percent": 1.1}, after, before)).status == status


def test_what_shrank_did_not_grow() -> None:
    result = only(checked({"installed-growth": 0}, BEFORE, NOW))
    assert (result.status, result.actual) == ("ok", -15 * MB)


def test_a_share_of_nothing_is_not_measured_unless_nothing_came() -> None:
    rule = {"rules": [{"owner": "torch", "installed-growth-percent": 1.0}]}
    result = only(checked(rule, NOW, manifest_of([APP])))
    assert (result.status, result.actual) == ("unmeasured", None)
    assert result.note == "the baseline has none of it, and 500 MB are no share of nothing; set `installed-growth`"
    assert only(checked(rule, manifest_of([APP]), manifest_of([APP]))).actual == 0.0


def test_growth_without_a_baseline_is_not_measured_and_says_what_to_do() -> None:
    result = only(checked({"installed-growth": 0, "baseline": "sizes/app.json"}, NOW))
    assert (result.status, result.note) == ("unmeasured", "there is no baseline yet; copy the manifest of a release to sizes/app.json")
    assert "--baseline" in only(checked({"installed-growth": 0}, NOW)).note


def test_a_folder_compresses_nothing() -> None:
    check = checked({"compressed": 0, "compressed-growth": 0, "rules": [{"kind": "elf", "compressed": 0}]}, FOLDER, FOLDER)
    assert [result.status for result in check.results] == ["unmeasured"] * 3
    assert {result.note.partition(";")[0] for result in check.results} == {"a folder compresses nothing"}
    assert [finding.code for finding in check.findings] == ["MB821"] * 3
    assert check.breaches == ()


@pytest.mark.parametrize("name", ["Py_Torch.Lightning", "py-torch-lightning", "PY--TORCH__LIGHTNING"])
def test_names_of_owners_are_compared_normalized(name: str) -> None:
    manifest = manifest_of([file_row("a", 7, owner="py_torch_lightning"), file_row("b", 5, owner="py-torch")])
    assert only(checked({"rules": [{"owner": name, "installed": 7}]}, manifest)).actual == 7


def test_metadata_and_bundled_libraries_belong_to_their_distribution_in_every_release() -> None:
    before, after = (
        manifest_of([file_row("x", size, owner=f"My_App-{size}.dist-info"), file_row("y", 2 * size, owner="my_app.libs")])
        for size in (10, 14)
    )
    check = checked({"rules": [{"owner": "my-app", "installed-growth": 11}], "installed-growth": 11}, after, before)
    assert [result.actual for result in check.results] == [12, 12]
    assert check.lines() == (
        "budget: installed-growth is 12 B, 1 B over the 11 B allowed (my-app +12 B)",
        "budget: my-app: installed-growth is 12 B, 1 B over the 11 B allowed (y +8 B, x +4 B)",
    )


@pytest.mark.parametrize(
    ("selector", "installed", "count"),
    [({"owner": "torch"}, 500 * MB, 1), ({"kind": "elf"}, 530 * MB, 2), ({"files": "*.so"}, 530 * MB, 2), ({"files": "/app/"}, MB, 1)],
)
def test_a_rule_counts_the_files_that_it_selects(selector: dict[str, str], installed: int, count: int) -> None:
    check = checked({"rules": [{**selector, "installed": 0, "compressed": 0, "count": 0}]}, NOW)
    assert [result.actual for result in check.results] == [installed, installed // 2, count]


def test_growth_of_a_rule_counts_the_same_files_of_the_baseline() -> None:
    check = checked({"rules": [{"owner": "torch", "installed-growth": 0}, {"kind": "elf", "installed-growth": 0}]}, NOW, BEFORE)
    assert [result.actual for result in check.results] == [14 * MB, 44 * MB]


def test_a_breach_of_an_owner_names_its_files() -> None:
    manifest = manifest_of([file_row(f"torch/{name}.so", size, owner="torch") for name, size in (("a", 3 * MB), ("b", 5 * MB))])
    (line,) = checked({"rules": [{"owner": "torch", "installed": 0}]}, manifest).lines()
    assert line == "budget: torch: installed is 8.00 MB, 8.00 MB over the 0 B allowed (torch/b.so 5.00 MB, torch/a.so 3.00 MB)"


def test_a_rule_that_selects_nothing_is_told_with_the_nearest_name_once() -> None:
    check = checked({"rules": [{"owner": "torhc", "installed": 0, "count": 0}]}, NOW)
    assert [(result.status, result.actual, result.note) for result in check.results] == [
        ("ok", 0, "no file belongs to 'torhc'; did you mean 'torch'?")
    ] * 2
    assert [(finding.code, finding.message) for finding in check.findings] == [
        ("MB824", "budget: torhc: no file belongs to 'torhc'; did you mean 'torch'?")
    ]


def test_a_rule_for_what_is_no_longer_there_is_no_slip() -> None:
    check = checked({"rules": [{"owner": "torch", "installed": 0}]}, manifest_of([APP]), NOW)
    assert (only(check).status, check.findings) == ("ok", ())


def test_a_kind_and_a_glob_that_select_nothing() -> None:
    check = checked({"rules": [{"kind": "pe", "installed": 0}, {"files": "*.dll", "installed": 0}]}, NOW)
    assert [finding.code for finding in check.findings] == ["MB824", "MB824"]


def test_an_override_makes_a_breach_pass_and_its_reason_is_told() -> None:
    check = checked({"installed": 1, **overridden("installed")}, NOW)
    assert (only(check).status, only(check).reason) == ("overridden", REASON)
    assert (check.breaches, check.findings, check.lines()) == ((), (), ())
    assert only(check).note.startswith("torch 500 MB")


def test_an_override_has_an_end() -> None:
    table = {"installed": "500 MB", **overridden("installed", **{"up-to": "531 MB"})}
    assert only(checked(table, NOW)).status == "overridden"
    (line,) = checked(table, manifest_of([*ROWS, file_row("b", 2 * MB, owner="b")])).lines()
    assert line.startswith("budget: installed is 533 MB, 33.0 MB over the 500 MB allowed, and 2.00 MB over the 531 MB of its override (")


def test_an_override_that_is_no_longer_needed_is_told() -> None:
    check = checked({"installed": "1 GB", **overridden("installed")}, NOW)
    assert (only(check).status, only(check).reason) == ("ok", REASON)
    assert [(finding.code, finding.message) for finding in check.findings] == [
        ("MB822", "budget: the override of installed is no longer needed; delete it")
    ]


def test_findings_do_not_depend_on_times() -> None:
    table = {"startup": 2, **overridden("startup")}
    checks = [checked(table, NOW, None, Performance(seconds=seconds, peak_memory=1)) for seconds in (1.0, 3.0)]
    assert [only(check).status for check in checks] == ["ok", "overridden"]
    assert checks[0].findings == checks[1].findings == ()
    assert checks[0].rows() == checks[1].rows()


def test_times_and_memory_are_held_and_stay_out_of_the_rows() -> None:
    table = {"startup": 1.5, "peak-memory": "800 MB"}
    check = checked(table, NOW, None, Performance(seconds=1.62, peak_memory=812 * MB))
    assert check.lines() == (
        "budget: startup is 1.62 s, 0.12 s over the 1.5 s allowed",
        "budget: peak-memory is 812 MB, 12.0 MB over the 800 MB allowed",
    )
    assert check.rows() == (
        BudgetRow(limit="startup", unit="seconds", allowed=1.5, actual=None, status="unmeasured"),
        BudgetRow(limit="peak-memory", unit="bytes", allowed=800 * MB, actual=None, status="unmeasured"),
    )
    assert [finding.code for finding in checked(table, NOW).findings] == ["MB821", "MB821"]


def test_the_rows_of_a_manifest_read_back_as_they_were() -> None:
    table = {"preset": ["pypi"], "installed": "600 MB", "installed-growth-percent": 5.5, **overridden("pypi")}
    manifest = replace(NOW, budget=checked(table, NOW, BEFORE).rows())
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert [row.reason for row in manifest.budget] == [REASON, None, None]


PACKED = (
    PackedRow(name="app.tar.zst", format="tar.zst", size=90 * MB, sha256="0" * 64),
    PackedRow(name="app.zip", format="zip", size=120 * MB, sha256="0" * 64),
)
ONE_FILE = (PackedRow(name="app", format="one-file", size=5 * 10**9, sha256="0" * 64),)


@pytest.mark.parametrize(
    ("preset", "manifest", "actual", "status"),
    [
        ("pypi", NOW, NOW.artifact.after.size, "over"),
        ("pypi", manifest_of([APP]), 500_100, "ok"),
        ("pypi", FOLDER, None, "unmeasured"),
        ("github-release", FOLDER, None, "unmeasured"),
        ("github-release", replace(FOLDER, packed=PACKED), 120 * MB, "ok"),
        ("github-release", replace(FOLDER, packed=ONE_FILE), 5 * 10**9, "over"),
        ("lambda", FOLDER, 531 * MB, "over"),
        ("lambda", manifest_of([file_row("a", 262_144_000)]), 262_144_000, "ok"),
        ("lambda", manifest_of([file_row("a", 262_144_001)]), 262_144_001, "over"),
        ("lambda-zip", replace(FOLDER, packed=PACKED), 120 * MB, "over"),
        ("lambda-zip", replace(FOLDER, packed=PACKED[:1]), None, "unmeasured"),
        ("lambda-zip", NOW, None, "unmeasured"),
        ("one-file", replace(FOLDER, packed=ONE_FILE), 5 * 10**9, "over"),
        ("one-file", replace(FOLDER, packed=PACKED), None, "unmeasured"),
        ("one-file", replace(NOW, artifact=replace(NOW.artifact, kind="frozen", name="app")), NOW.artifact.after.size, "ok"),
    ],
)
def test_presets_measure_what_their_limit_is_about(preset: str, manifest: Manifest, actual: int | None, status: str) -> None:
    check = checked({"preset": [preset]}, manifest)
    assert (only(check).limit, only(check).actual, only(check).status) == (preset, actual, status)
    assert [finding.code for finding in check.findings] == (["MB821"] if status == "unmeasured" else [])
    assert bool(only(check).note) or status == "ok"


def test_the_download_of_a_folder_is_what_it_is_packed_into() -> None:
    table = {"download": "100 MB", **overridden("download", **{"up-to": "110 MB"})}
    assert only(checked(table, FOLDER)).status == "unmeasured"
    assert checked(table, replace(FOLDER, packed=PACKED)).lines() == (
        "budget: download is 120 MB, 20.0 MB over the 100 MB allowed, and 10.0 MB over the 110 MB of its override (app.zip)",
    )
    (line,) = checked({"download": 1}, NOW).lines()
    assert line.endswith("(torch 250 MB, numpy 15.0 MB, app 500 kB)")


def test_a_preset_names_the_file_that_is_too_large() -> None:
    (line,) = checked({"preset": ["pypi"]}, replace(FOLDER, packed=PACKED)).lines()
    assert line == "budget: pypi is 120 MB, 15.1 MB over the 105 MB allowed (app.zip)"


def test_a_baseline_of_another_kind_gives_no_growth() -> None:
    check = checked({"installed": 1, "installed-growth": 0}, NOW, FOLDER)
    assert [result.status for result in check.results] == ["over", "unmeasured"]
    assert check.results[1].note == "the baseline, app, is of kind 'frozen', the artifact 'wheel'"
    assert [finding.code for finding in check.findings] == ["MB823", "MB821"]
    assert "torch 500 MB" in check.lines()[0]


def test_a_baseline_of_another_project_counts_and_is_told() -> None:
    check = checked({"installed-growth": 0}, NOW, manifest_of([APP], name="other-1.0-py3-none-any.whl"))
    assert (only(check).actual, [finding.code for finding in check.findings]) == (530 * MB, ["MB823"])
    assert (
        checked(
            {"installed-growth": 0}, NOW, replace(BEFORE, artifact=replace(BEFORE.artifact, name="App-0.9-cp311-abi3-any.whl"))
        ).findings
        == ()
    )


@pytest.mark.parametrize(
    ("before", "after", "same"), [("app-1.0-linux", "app-1.10rc1-linux", True), ("app", "app2", False), ("a_v1", "a_v2", True)]
)
def test_a_bundle_is_the_same_in_every_release(before: str, after: str, same: bool) -> None:
    check = checked({"installed-growth": 0}, manifest_of(ROWS, kind="frozen", name=after), manifest_of(ROWS, kind="frozen", name=before))
    assert (check.findings == ()) is same


def test_the_document_has_every_figure() -> None:
    document = json.loads(checked({"installed": 1, "startup": 1}, NOW, BEFORE).to_json())
    assert (document["format"], document["format_version"], document["kept"]) == ("mlbundle-budget", "1.0", False)
    assert (document["artifact"], document["baseline"]) == (NOW.artifact.name, BEFORE.artifact.name)
    assert document["limits"][0] == {
        "limit": "installed",
        "key": "installed",
        "unit": "bytes",
        "allowed": 1,
        "actual": 531 * MB,
        "status": "over",
        "reason": None,
        "note": "torch +14.0 MB, numpy +1.00 MB",
        "up_to": None,
    }
    assert [finding["code"] for finding in document["findings"]] == ["MB821"]


def hostile_check() -> BudgetCheck:
    manifest = manifest_of([file_row(f"{HOSTILE}/x", 9 * MB, owner=HOSTILE), file_row("y" * 300, MB, owner="o" * 300)], name=HOSTILE)
    return checked({"installed": 0, "rules": [{"files": "*", "name": "<b>|`", "count": 0}]}, manifest, manifest_of([]))


def test_hostile_names_are_escaped_in_one_short_line() -> None:
    check = hostile_check()
    for line in check.lines():
        assert line.isprintable()
        assert len(line) < 300
    assert "\\x1b[31m" in check.lines()[0]
    assert check.to_json().isascii()


def test_an_empty_artifact_keeps_every_limit() -> None:
    empty = manifest_of([], structure=0)
    table = {"preset": ["pypi", "lambda"], "installed": 0, "files": 0, "installed-growth": 0, "installed-growth-percent": 0.0}
    assert {result.status for result in checked(table, empty, empty).results} == {"ok"}
    assert checked({}, empty).results == ()


def test_twenty_thousand_files_and_ten_globs_take_no_while() -> None:
    manifest = manifest_of([file_row(f"p{number % 50}/deep/er/f{number}.py", number, owner=f"p{number % 50}") for number in range(20_000)])
    rules = [{"files": f"p{number}/**/*.py", "installed": 0, "compressed": 0, "count": 0} for number in range(10)]
    check = checked({"rules": rules}, manifest, manifest)
    assert {result.actual for result in check.results[2::3]} == {400}


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (600 * MB, "bytes", "600 MB"),
        (12_000, "files", "12,000"),
        (2.5, "percent", "2.5 %"),
        (0.126, "seconds", "0.126 s"),
        (1234.5, "percent", "1,234 %"),
        (-2.0, "percent", "-2 %"),
    ],
)
def test_amounts_as_a_person_reads_them(value: float, unit: Any, told: str) -> None:
    assert format_amount(value, unit) == told
