"""Reports as text."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, PackedRow, Saved, StepRow, Totals
from hatch_mlbundle.model import Finding
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text, summary
from tests.manifests import manifest_of

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


ANALYSIS = """\
pkg-1.0-py3-none-any.whl
1 files, 15.0 kB installed, 4.00 kB compressed
5.00 kB (25.0 %) saved by 1 step: test_data 5.00 kB

installed           compressed          files  package
  15.0 kB  100.0 %     3.60 kB  90.0 %      2  pkg
                         400 B  10.0 %         zip headers

installed           compressed          files  kind
  15.0 kB  100.0 %     3.60 kB  90.0 %      2  data
                         400 B  10.0 %         zip headers

installed          compressed          largest files
  7.50 kB  50.0 %     1.80 kB  45.0 %  pkg/deep/deep/deep/deep/deep/deep/deep/
                                       deep/deep/deep/deep/deep/deep/deep/deep
                                       /deep/deep/deep/deep/deep/a.bin
  7.50 kB  50.0 %     1.80 kB  45.0 %  [1 others]
                        400 B  10.0 %  zip headers

 wasted  copies  duplicates
7.50 kB       2  pkg/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/deep/de
                 ep/deep/deep/deep/deep/deep/deep/deep/deep/a.bin

MB103 a.so: it no longer loads"""


def test_the_whole_analysis() -> None:
    assert as_text(analysis(manifest(Finding(code="MB103", message="it no longer loads", path="a.so")), top=1)) == ANALYSIS


def test_of_many_findings_and_steps_what_is_left_over_is_counted() -> None:
    many = manifest(*(Finding(code="MB101", message=f"number {number}") for number in range(5)))
    first = many.steps[0]
    steps = (first, replace(first, optimizer="strip", saved=Saved(installed=600, compressed=None)))
    steps += (replace(first, optimizer="idle", saved=Saved(installed=0, compressed=0)),)
    text = as_text(analysis(replace(many, steps=steps), top=2))
    assert text.endswith("MB101 number 0\nMB101 number 1\n[3 others]")
    assert "5.00 kB (25.0 %) saved by 3 steps: test_data 5.00 kB, strip 600 B, other -600 B" in text


def test_what_a_folder_was_packed_into_is_told() -> None:
    packed = (PackedRow(name="app.tar.zst", format="tar.zst", size=1_234_567, sha256="0"),)
    assert "tar.zst: app.tar.zst, 1.23 MB" in as_text(analysis(replace(manifest(), packed=packed), top=3)).splitlines()


def test_without_hashes_duplicates_are_not_known() -> None:
    files = {"a/x": b"1", "b/y": b"1"}
    assert as_text(analysis(manifest_of(files, hashed=False), top=3)).endswith("duplicates unknown: files were not hashed")
    assert "duplicates" in as_text(analysis(manifest_of(files), top=3))
    assert as_text(analysis(manifest_of({}), top=3)).endswith("no duplicates")


def test_hostile_names_in_an_analysis_are_text() -> None:
    names = ["new\nline", "\x1b[31mred", "\u202egnp.exe", "\udcff", "x" * 300, "[bold]x[/]", "[/nothing]"]
    files = {f"{name}/{name}": b"same" for name in names}
    finding = Finding(code="MB101", message="odd", path="a\nb\x1b[2J")
    text = as_text(analysis(replace(manifest_of(files, name="\udcff\n"), findings=(finding,)), top=20))
    text.encode()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not set(text) & {"\x1b", "\u202e", "\udcff"}
    for name in ("new\\nline", "[bold]x[/]", "[/nothing]", "\\udcff"):
        assert f"  {name}/{name}" in text
        assert f"  {name.partition('/')[0]}\n" in text


@pytest.mark.parametrize("top", [1, 2, 50])
def test_the_rows_of_an_analysis_add_up(top: int) -> None:
    whole = manifest_of({f"p{number}/{name}.{name}": b"1" * number for number in range(9) for name in "abc"}, packs=True, structure=9)
    lines = as_text(analysis(whole, top=top)).splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("installed")]
    assert len(starts) == 3
    for start in starts:
        rows = lines[start + 1 : lines.index("", start)]
        for name, total in (("installed", whole.artifact.after.installed), ("compressed", whole.artifact.after.size)):
            end = lines[start].index(name) + len(name)
            assert sum(int(row[:end].split()[-2]) for row in rows if row[:end].endswith(" B")) == total


def test_the_time_of_an_analysis_grows_with_the_files_and_not_with_their_square() -> None:
    def taken(count: int) -> float:
        states = {
            f"p{number % 50}/{number}.py": FileState(size=number, compressed=None, sha256=f"{number % 999}") for number in range(count)
        }
        many = manifest_of(states)
        gc.collect()
        gc.disable()  # what other tests left takes its time, too
        try:
            start = time.process_time()
            text = as_text(analysis(many, top=10))
            return time.process_time() - start
        finally:
            gc.enable()
            assert len(text.splitlines()) < 60

    assert taken(20_000) < 40 * taken(2_000)
