"""GPU code by library and architecture, and what libraries could lose: in a terminal and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hatch_mlbundle.manifest import ContentsRow, Manifest
from hatch_mlbundle.removable import GpuCodeRow, KeepingRow, RemovableRow, StripRow
from hatch_mlbundle.reports.libraries import libraries_report
from hatch_mlbundle.reports.library_rows import gpu_grid, loss_grid, names, short_name
from hatch_mlbundle.reports.markdown import analysis_markdown
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text
from hatch_mlbundle.units import parse_size
from tests.reports.test_contents_report import EMPTY
from tests.reports.test_markdown import HOSTILE, check_sound, rows_of

MB = 10**6
ARCHITECTURES = {"sm_80": 40 * MB, "sm_90": 50 * MB, "sm_75": 30 * MB, "compute_90 (PTX)": 9 * MB, "(headers)": 1 * MB}
ZERO = StripRow(symbols=0, debug=0, remarks=0, saves=0)


def code(path: str, parts: dict[str, int]) -> ContentsRow:
    return ContentsRow(path=path, view="gpu", parts=parts)


def library(
    path: str, strip: int, *saves: int, licence: str = "", targets: Sequence[tuple[str, ...]] = (("7.5",), ("8.0",), ("9.0",))
) -> RemovableRow:
    keeping = tuple(
        KeepingRow(targets=each, serves=True, drops=size, saves=size, with_strip=size + strip)
        for each, size in zip(targets, saves, strict=False)
    )
    gpu = GpuCodeRow(licence=licence, keeping=keeping) if saves else None
    return RemovableRow(path=path, strip=replace(ZERO, saves=strip) if strip else None, gpu=gpu)


FULL = replace(
    EMPTY,
    contents=(
        code("torch/lib/libtorch_cuda.so", {name: 3 * size for name, size in ARCHITECTURES.items()}),
        code("nvidia/lib/libcudnn_engines_precompiled.so.9", ARCHITECTURES),
        *(code(f"nvidia/lib/lib{number}.so", {f"sm_{number}": MB}) for number in range(50, 60)),
    ),
    removable=(
        library("nvidia/lib/libcudnn_engines_precompiled.so.9", 0, 90 * MB, 80 * MB, 70 * MB),
        library("torch/lib/libtorch_cpu.so", 92 * MB),
        library("torch/lib/libtorch_cuda.so", 20 * MB, 270 * MB, 240 * MB, 210 * MB, licence="BSD-3-Clause"),
    ),
)
ONE = replace(
    FULL,
    removable=tuple(
        library(row.path, 5 * MB, 300 * MB, licence=row.gpu.licence if row.gpu else "", targets=[("8.0", "9.0")]) for row in FULL.removable
    ),
)


def text_of(manifest: Manifest, top: int = 10) -> str:
    return "\n".join(as_text(part) for part in libraries_report(manifest, top=top))


def figures(text: str, title: str) -> dict[str, list[int]]:
    """Return the figures of each row of a table by its label, 0 where there are none; names that take two lines are made one."""
    lines = re.split(r"\n\n|\n\* ", text.split(title)[1])[0].splitlines()
    while not lines[0].endswith("library"):
        lines.pop(0)
    heads = [match.end() for match in re.finditer(r"(?:PTX |GPU )?\S+(?= )", lines[0])]
    rows: dict[str, list[int]] = {}
    for line in lines[1:]:
        cells = [line[start:end].strip() for start, end in zip([0, *heads], heads, strict=False)]
        rows[line[heads[-1] :].strip()] = [parse_size(cell) if cell else 0 for cell in cells]
    return rows


@pytest.mark.parametrize("top", [1, 3, 30])
@pytest.mark.parametrize("manifest", [FULL, ONE])
def test_every_table_adds_up_and_fits_the_width(manifest: Manifest, top: int) -> None:
    text = text_of(manifest, top)
    assert max(map(len, text.splitlines())) <= WIDTH
    for title in ("GPU code by library and architecture", "what libraries could lose"):
        rows = figures(text, title)
        sums = [sum(column) for column in zip(*(amounts for name, amounts in rows.items() if not name.startswith("total")), strict=True)]
        assert sums == pytest.approx(rows["total"], rel=0.02)
    assert text in as_text(analysis(manifest, top=top))


def test_the_largest_library_and_architecture_come_first() -> None:
    rows = figures(text_of(FULL, 2), "GPU code by library and architecture")
    assert next(iter(rows)) == "libtorch_cuda.so"
    assert rows["libtorch_cuda.so"] == [390 * MB, 150 * MB, 120 * MB, 90 * MB, 27 * MB, 3 * MB]
    assert rows["[10 others]"] == [10 * MB, 0, 0, 0, 0, 10 * MB]
    assert " total    sm_90    sm_80    sm_75   PTX 90   others  library" in text_of(FULL)


def test_what_could_go_is_told_by_strip_and_by_compute_capability() -> None:
    rows = figures(text_of(FULL), "what libraries could lose: by strip, or all GPU code but for one capability")
    assert rows["libtorch_cuda.so"] == [20 * MB, 270 * MB, 240 * MB, 210 * MB]
    assert rows["libtorch_cpu.so"] == [92 * MB, 0, 0, 0]
    assert rows["total"] == [112 * MB, 360 * MB, 320 * MB, 280 * MB]
    assert rows["total, stripped too"] == [0, 472 * MB, 432 * MB, 392 * MB]
    assert rows["total without *"] == [112 * MB, 270 * MB, 240 * MB, 210 * MB]


def test_of_one_choice_both_are_told_together() -> None:
    rows = figures(text_of(ONE), "what libraries could lose: by strip, all GPU code but for 8.0 and 9.0, both")
    assert rows["libtorch_cuda.so"] == [5 * MB, 300 * MB, 305 * MB]
    assert rows["total"] == [15 * MB, 900 * MB, 915 * MB]
    assert rows["total without *"] == [15 * MB, 300 * MB, 315 * MB]


@pytest.mark.parametrize("manifest", [FULL, ONE])
def test_libraries_that_have_to_be_named_are_marked_and_the_mark_is_explained(manifest: Manifest) -> None:
    text = text_of(manifest)
    table = text.split("what libraries could lose")[1]
    marked = [line for line in table.splitlines() if line.endswith(" *") and "total" not in line]
    assert [line.split()[-2] for line in marked][:1] == ["libcudnn_engines_precompiled.so.9"]
    assert not any("libtorch_cuda.so" in line for line in marked)
    assert "* its GPU code goes only if `libraries` of `gpu_code` names it" in " ".join(table.split())
    markdown = analysis_markdown(manifest, top=3)
    check_sound(markdown)
    assert "| `nvidia/lib/libcudnn_engines_precompiled.so.9` \\* |" in markdown
    assert "\n\n\\* its GPU code goes only if `libraries` of `gpu_code` names it" in markdown
    free = replace(manifest, removable=tuple(row for row in manifest.removable if not row.gpu or row.gpu.licence))
    assert "*" not in text_of(free)
    assert "`libraries`" not in analysis_markdown(free, top=3)


def test_without_gpu_code_there_is_what_a_strip_takes_alone() -> None:
    text = text_of(replace(EMPTY, removable=(library("a/lib.so", 7 * MB), library("b/lib.so", 2 * MB))))
    assert [line.split() for line in text.split("\n\n")[0].splitlines()] == [
        ["what", "libraries", "could", "lose:", "by", "strip"],
        ["strip", "library"],
        ["7.00", "MB", "a/lib.so"],
        ["2.00", "MB", "b/lib.so"],
        ["9.00", "MB", "total"],
    ]
    assert libraries_report(EMPTY, top=3) == []


def test_capabilities_of_most_code_are_shown_in_their_order() -> None:
    targets = [(f"{major}.{minor}",) for major in range(5, 13) for minor in (0, 3)]
    parts = {f"sm_{target[0].replace('.', '')}": number * MB for number, target in enumerate(targets, 1)}
    full = replace(EMPTY, contents=(code("a.so", parts),), removable=(library("a.so", MB, *range(1, 17), targets=targets),))
    grid = loss_grid(full, 4)
    assert grid is not None
    assert grid.heads == ("strip", "11.3", "12.0", "12.3")
    whole = loss_grid(full, 100)
    assert whole is not None
    assert whole.heads == ("strip", *(target[0] for target in targets))


@pytest.mark.parametrize("room", range(2, 9))
def test_a_grid_of_any_width_tells_all(room: int) -> None:
    grid = gpu_grid(FULL, room)
    assert grid is not None
    assert len(grid.heads) <= room
    assert grid.sums[0] == sum(grid.sums[1:])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("sm_90a", "sm_90a"),
        ("compute_90 (PTX)", "PTX 90"),
        ("lto_75 (LTO-IR)", "LTO 75"),
        ("gfx90a", "gfx90a"),
        ("(other)", "(other)"),
        ("odd (name)", "odd (name)"),
    ],
)
def test_architectures_have_short_names(name: str, short: str) -> None:
    assert short_name(name) == short


def test_files_of_one_name_are_told_with_their_folders() -> None:
    assert names(["a/x.so", "b/x.so", "b/y.so"]) == ["a/x.so", "b/x.so", "y.so"]


def test_markdown_has_both_tables() -> None:
    text = analysis_markdown(FULL, top=2)
    check_sound(text)
    assert "<summary>What libraries could lose</summary>\n\nWhat goes by strip, or all GPU code but for one capability:" in text
    tables = {rows[0][1]: rows for rows in rows_of(text) if rows[0][0] == "library"}
    assert tables["total"][0][:4] == ["library", "total", "sm_90", "sm_80"]
    assert tables["total"][1][:3] == ["torch/lib/libtorch_cuda.so", "390 MB", "150 MB"]
    assert tables["strip"][-2] == ["total, stripped too", "", "472 MB", "432 MB", "392 MB"]
    assert [row[0] for row in tables["strip"]][1:4] == ["torch/lib/libtorch_cuda.so", "torch/lib/libtorch_cpu.so", "[1 others]"]


@pytest.mark.parametrize("name", [*HOSTILE, "9" * 5000, "1.2.3", "\u0661.\u0660"])
def test_hostile_names_are_names_alone(name: str) -> None:
    manifest = replace(EMPTY, contents=(code(name, {name or "x": 5}),), removable=(library(name, 5, 7, targets=[(name,)]),))
    check_sound(analysis_markdown(manifest, top=3))
    assert "\x1b" not in text_of(manifest)
    many = replace(manifest, removable=(library(name, 5, 7, 8, targets=[(name,), ("8.0",)]),))
    check_sound(analysis_markdown(many, top=3))
    assert "\x1b" not in text_of(many)
