"""Reports as text."""

from __future__ import annotations

from pathlib import Path

from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, Saved, StepRow, Totals
from hatch_mlbundle.model import Finding
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text, summary

LONG = Path("dist") / f"{'long_name_' * 9}-1.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl.mlbundle.json"


def manifest(*findings: Finding) -> Manifest:
    before = Totals(size=5_000, installed=20_000, structure=500, files=2, sha256="b")
    after = Totals(size=4_000, installed=15_000, structure=400, files=1, sha256="a")
    small, twin = FileState(size=7_500, compressed=1_800, sha256="x"), FileState(size=7_500, compressed=1_800, sha256="x")
    files = [
        FileRow(path=f"pkg/{'deep/' * 20}{name}.bin", kind="data", owner="pkg", before=state, after=state, changes=())
        for name, state in (("a", small), ("b", twin))
    ]
    step = StepRow(
        optimizer="test_data",
        distribution="hatch-mlbundle",
        version="1",
        lossless=True,
        options={},
        changes={"drop": 3, "keep": 2},
        saved=Saved(installed=5_000, compressed=900),
    )
    return Manifest(
        generator="test",
        artifact=ArtifactRow(name="pkg-1.0-py3-none-any.whl", kind="wheel", before=before, after=after),
        tools=(),
        configuration={},
        steps=(step,),
        remainder=Saved(installed=0, compressed=100),
        files=tuple(files),
        companions=(),
        findings=findings,
    )


def test_a_path_is_never_cut_nor_broken() -> None:
    assert f"manifest: {LONG}" in as_text(summary(manifest(), LONG)).splitlines()


def test_steps_count_what_they_changed_and_not_what_they_kept() -> None:
    (line,) = (line for line in as_text(summary(manifest())).splitlines() if line.startswith("test_data"))
    assert line.split() == ["test_data", "3", "-5.00", "kB", "-900", "B"]
    assert "25.0 % smaller installed, 20.0 % smaller compressed" in as_text(summary(manifest()))


def test_findings_are_told_whole() -> None:
    text = as_text(summary(manifest(Finding(code="MB103", message="it no longer loads " * 10, path="a.so", optimizer="strip"))))
    assert "MB103 strip: a.so: it no longer loads" in text
    assert text.count("loads") == 10


def test_analysis_fits_the_width_and_finds_duplicates() -> None:
    text = as_text(analysis(manifest(), top=1))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "[1 others]" in text
    (duplicates,) = (block for block in text.split("\n\n") if block.startswith(" wasted"))
    assert "7.50 kB" in duplicates
