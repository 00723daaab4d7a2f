"""The report of several artifacts."""

from __future__ import annotations

from pathlib import Path

from hatch_mlbundle.ci.checking import Checked
from hatch_mlbundle.ci.summary import grown, summary
from hatch_mlbundle.manifest import Totals
from hatch_mlbundle.reports.markdown_parts import LIMIT, joined, marker


def sized(installed: int) -> Totals:
    return Totals(size=installed, installed=installed, structure=0, files=1, sha256=None)


def checked(folder: Path, name: str, *, exit_code: int = 0, length: int = 100, before: int | None = None) -> Checked:
    """Return a check whose report has a first line and so many bytes after it."""
    folder = folder / name
    folder.mkdir()
    (folder / "report.md").write_text(joined([marker(name), f"**first line of {name}**", "x" * length]), encoding="utf-8")
    return Checked(
        name=name,
        exit_code=exit_code,
        said="mlbundle: `said`\nmore",
        before=None if before is None else sized(before),
        after=sized(1_000) if exit_code <= 1 else None,
        breaches=int(exit_code == 1),
        folder=folder,
    )


def test_one_artifact_is_its_report_under_the_name_of_the_check(tmp_path: Path) -> None:
    assert summary("size of x", [checked(tmp_path, "app")]) == f"{marker('size of x')}\n\n**first line of app**\n\n{'x' * 100}\n"


def test_what_failed_comes_first_and_is_counted(tmp_path: Path) -> None:
    text = summary("s", [checked(tmp_path, "a"), checked(tmp_path, "b", exit_code=1, before=400), checked(tmp_path, "c", exit_code=2)])
    assert text.splitlines()[2] == "**+600 B installed** in 3 artifacts, 1 over budget, 1 not checked"
    order = [text.index(each) for each in ("**`c` could not be checked**: ``mlbundle: `said`\\nmore``", "line of b", "line of a")]
    assert order == sorted(order)


def test_without_any_baseline_the_sum_is_told(tmp_path: Path) -> None:
    both = [checked(tmp_path, "a"), checked(tmp_path, "b")]
    assert grown(both) is None
    assert "**2.00 kB installed** in 2 artifacts" in summary("s", both)


def test_reports_that_do_not_fit_are_lines_and_then_numbers(tmp_path: Path) -> None:
    many = [checked(tmp_path, f"app{number:04}", length=25_000) for number in range(150)]
    text = summary("s", many)
    assert len(text.encode()) <= LIMIT
    assert text.count("x" * 25_000) == 2
    assert text.count("first line of") == 2 + 100
    assert text.endswith("[48 others]\n")


def test_one_large_report_does_not_push_out_a_small_one(tmp_path: Path) -> None:
    text = summary("s", [checked(tmp_path, "large", length=59_000), checked(tmp_path, "small")])
    assert "first line of large" in text
    assert "x" * 101 not in text
    assert "x" * 100 in text
