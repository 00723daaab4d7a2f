from __future__ import annotations

from dataclasses import replace

import pytest

from hatch_mlbundle.budget import BudgetCheck, Performance
from hatch_mlbundle.reports.budget import budget_line, budget_report
from hatch_mlbundle.reports.terminal import WIDTH, as_text, summary
from tests.budgetsmith import HOSTILE, MB, checked, file_row, manifest_of

NOW = manifest_of([file_row("torch/lib.so", 97 * MB, owner="torch"), file_row("app/a.py", MB)])
TABLE = {
    "installed": "100 MB",
    "files": 1,
    "startup": 1.5,
    "rules": [{"owner": "torch", "installed": "90 MB"}],
    "overrides": [{"limit": "torch: installed", "reason": "the new kernels"}],
}


def text_of(check: BudgetCheck) -> list[str]:
    return as_text(budget_report(check)).splitlines()


def row_of(lines: list[str], limit: str) -> list[str]:
    return next(line for line in lines if line.startswith(limit)).removeprefix(limit).split()


def test_each_limit_has_a_row_with_a_bar() -> None:
    lines = text_of(checked(TABLE, NOW))
    assert row_of(lines, "installed") == ["100", "MB", "98.0", "MB", "98", "%", "##########", "ok"]
    assert row_of(lines, "files") == ["1", "2", "200", "%", "##########", "over"]
    assert row_of(lines, "startup") == ["1.5", "s", "-", "unmeasured"]
    assert row_of(lines, "torch: installed") == ["90.0", "MB", "97.0", "MB", "108", "%", "##########", "overridden"]
    assert "files: app 1, torch 1" in lines
    assert "torch: installed: overridden: the new kernels" in lines
    assert lines[-1] == "over 1 limit of 4"


@pytest.mark.parametrize(
    ("size", "allowed", "share", "bar"),
    [
        (0, 0, "0 %", ".........."),
        (1, 0, "", "##########"),
        (999, 1000, "99 %", "##########"),
        (1000, 1000, "100 %", "##########"),
        (1001, 1000, "101 %", "##########"),
        (449, 1000, "44 %", "####......"),
        (1000, 1, "> 9,999 %", "##########"),
    ],
)
def test_the_share_never_says_other_than_the_status(size: int, allowed: int, share: str, bar: str) -> None:
    row = row_of(text_of(checked({"installed": allowed}, manifest_of([file_row("a", size)]))), "installed")
    status = "ok" if size <= allowed else "over"
    assert " ".join(row).endswith(f"{share} {bar} {status}".strip())


def test_what_shrank_uses_nothing() -> None:
    row = row_of(text_of(checked({"installed-growth": "1 MB"}, manifest_of([]), NOW)), "installed-growth")
    assert row == ["1.00", "MB", "-98.0", "MB", "0", "%", "..........", "ok"]


def test_no_limits_are_said_to_be_none() -> None:
    assert text_of(checked({}, NOW)) == [NOW.artifact.name, "no limits: [tool.mlbundle.budget] sets none"]


def test_long_and_hostile_names_fold_within_the_width() -> None:
    manifest = manifest_of([file_row("x", 9 * MB, owner=HOSTILE)], name=HOSTILE)
    rules = [{"files": "*", "name": f"{'long ' * 60}[bold]", "installed": 1}, {"files": f"{'d' * 300}/*", "count": 0}]
    lines = text_of(checked({"rules": rules, "installed-growth": 0}, manifest, manifest))
    assert max(map(len, lines)) <= WIDTH
    text = "".join(lines)
    assert text.isprintable()
    assert text.count("d" * 20) >= 10
    assert "[bold]" in text.replace(" ", "")


def test_a_hundred_limits_of_the_largest_sizes_fit() -> None:
    manifest = manifest_of([file_row("x", 123_456 * 10**9, owner="x")])
    table = {
        "installed": "999 GB",
        "files": 10**9,
        "rules": [{"files": "*", "name": f"rule {n}", "installed-growth-percent": 1e9} for n in range(98)],
    }
    lines = text_of(checked(table, manifest, manifest_of([file_row("x", 1)])))
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.startswith("rule ") and "over" in line for line in lines) == 98


def test_the_summary_of_a_build_has_one_line() -> None:
    rows = checked({**TABLE, "files": 2}, NOW).rows()
    text = as_text(summary(replace(NOW, budget=rows)))
    (line,) = (line for line in text.splitlines() if line.startswith("budget:"))
    assert line == "budget: 2 limits kept, 1 overridden, 1 not measured, tightest: files 100 %"


def test_times_that_were_measured_are_kept_though_the_manifest_has_none() -> None:
    check = checked({"installed": "1 GB", "startup": 1.5}, NOW, None, Performance(seconds=1, peak_memory=1))
    line = budget_line(replace(NOW, budget=check.rows()), verified=True)
    assert line
    assert as_text(line) == "budget: 2 limits kept, tightest: installed 9 %"
    assert budget_line(NOW, verified=True) is None
