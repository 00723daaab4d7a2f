from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hatch_mlbundle.contents.totals import totals
from hatch_mlbundle.manifest import ArtifactRow, ContentsRow, Manifest, Saved, Totals, View
from hatch_mlbundle.reports.contents import contents_report
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text
from hatch_mlbundle.units import parse_size

NOTHING = Totals(size=0, installed=0, structure=0, files=0, sha256=None)
EMPTY = Manifest(
    generator="test",
    artifact=ArtifactRow(name="pkg", kind="folder", before=NOTHING, after=NOTHING),
    tools=(),
    configuration={},
    steps=(),
    remainder=Saved(installed=0, compressed=None),
    files=(),
    companions=(),
    findings=(),
)


def manifest(*rows: tuple[str, View, Mapping[str, int]]) -> Manifest:
    return replace(EMPTY, contents=tuple(ContentsRow(path=path, view=view, parts=parts) for path, view, parts in rows))


MANY = manifest(
    ("a.so", "sections", {".text": 600_000, ".data": 300_000, "(headers)": 100_000}),
    ("a.so", "gpu", {"sm_80": 5_000_000, "compute_90 (PTX)": 1_000_000}),
    ("b.so", "sections", {".data": 500_000, ".text": 200_000, "(other)": 300_000}),
    ("m.gguf", "tensors", {"Q4_K": 9_000_000}),
)


def told(text: str, title: str) -> list[tuple[int, str]]:
    """Return size and name of each row below a title."""
    block = text.split(f"{title}, ")[1].split("\n\n")[0].splitlines()[1:]
    rows = [re.fullmatch(r" *(\d\S* \S+) +\S+ %  (.*)", line) for line in block]
    return [(parse_size(row[1]), row[2]) for row in rows if row]


def test_all_files_are_taken_together_and_the_largest_comes_first() -> None:
    report = contents_report(MANY, top=10)
    assert report is not None
    text = as_text(report)
    assert told(text, "sections of binaries") == [(800_000, ".data"), (800_000, ".text"), (300_000, "(other)"), (100_000, "(headers)")]
    assert told(text, "GPU code by architecture") == [(5_000_000, "sm_80"), (1_000_000, "compute_90 (PTX)")]
    assert told(text, "tensors by dtype") == [(9_000_000, "Q4_K")]


@pytest.mark.parametrize("top", [1, 2, 3])
def test_what_is_cut_off_is_one_row_and_the_rows_add_up(top: int) -> None:
    report = contents_report(MANY, top=top)
    assert report is not None
    text = as_text(report)
    assert "sections of binaries, 2.00 MB" in text
    rows = told(text, "sections of binaries")
    assert sum(size for size, _ in rows) == 2_000_000
    assert rows[-1][1] == f"[{4 - top} others]"


def test_there_is_no_table_of_what_there_is_not() -> None:
    assert contents_report(EMPTY, top=3) is None
    assert totals(EMPTY) == {}
    report = contents_report(manifest(("m.pt", "tensors", {"F32": 4})), top=3)
    assert report is not None
    assert "sections" not in as_text(report)


def test_it_is_part_of_an_analysis_and_fits_the_width() -> None:
    names = {f".section_with_a_very_long_name_{number:030}": 1000 + number for number in range(30)}
    text = as_text(analysis(manifest(("a.so", "sections", names)), top=40))
    assert "sections of binaries" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_names_of_a_foreign_manifest_are_no_markup() -> None:
    report = contents_report(manifest(("a.so", "sections", {"[bold]x[/bold]": 10, "[red]": 5})), top=3)
    assert report is not None
    assert "[bold]x[/bold]" in as_text(report)
    assert "[red]" in as_text(report)
