from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Group, RenderableType

from hatch_mlbundle.compare import compare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.advice import advice_hint, advice_report, advice_table
from hatch_mlbundle.reports.advice_sizes import sizes_now, sizes_with_all
from hatch_mlbundle.reports.component_rows import Amount, amount, component_kinds
from hatch_mlbundle.reports.components import components_report
from hatch_mlbundle.reports.markdown import analysis_markdown
from hatch_mlbundle.reports.terminal import WIDTH, analysis, as_text
from tests.imagerows import component, hostile_manifest, image_manifest
from tests.manifests import manifest_of


def text(parts: list[RenderableType]) -> list[str]:
    return as_text(Group(*parts)).splitlines()


def test_components_stand_by_kind_and_add_up() -> None:
    lines = text(components_report(image_manifest(), top=2))
    assert [re.split(r" {2,}", line.strip()) for line in lines[1:] if line] == [
        ["5.00 kB", "50.0 %", "2.50 kB", "43.9 %", "Python packages (2)"],
        ["4.00 kB", "40.0 %", "2.00 kB", "35.1 %", "f3 1.0"],
        ["1.00 kB", "10.0 %", "501 B", "8.8 %", "[1 others]"],
        ["3.00 kB", "30.0 %", "1.50 kB", "26.3 %", "models"],
        ["3.00 kB", "30.0 %", "1.50 kB", "26.3 %", "f2 1.0"],
        ["2.00 kB", "20.0 %", "1.00 kB", "17.5 %", "system packages"],
        ["700 B", "12.3 %", "hidden files, headers of layers"],
        ["10.0 kB", "100.0 %", "5.70 kB", "100.0 %", "total"],
    ]


def test_what_all_of_a_kind_have_in_common_is_said_once() -> None:
    rows = (component("a", 9, "system", detail="Debian 12"), component("b", 8, "system", detail="Debian 12"))
    lines = text(components_report(replace(image_manifest(), components=rows), top=5))
    assert sum("Debian 12" in line for line in lines) == 1
    assert "system packages (2), Debian 12" in lines[1]


def test_options_are_told_with_the_image_now_with_each_and_with_all() -> None:
    manifest = image_manifest()
    now, least = sizes_now(manifest), sizes_with_all(manifest)
    assert (now.unpacked, now.stored) == (10_500, manifest.artifact.after.size)
    assert (least.unpacked, least.stored) == (5_500, now.stored - 2_500)
    lines = [re.split(r" {2,}", line.strip()) for line in text(advice_table(manifest, top=2)) if line]
    assert lines[1] == ["10.5 kB", "5.70 kB", "now, with what layers hide"]
    assert lines[2] == ["6.50 kB", "3.70 kB", "-35.1 %", "1", "Do one"]
    assert lines[4] == ["[1 others]"]
    assert lines[5] == ["5.50 kB", "3.20 kB", "-43.8 %", "all of these"]


def test_an_option_in_full_has_lines_to_paste() -> None:
    lines = text(advice_report(image_manifest(), top=9))
    start = lines.index("2  Do two")
    assert lines[start + 1 : start + 8] == [
        "   saves 3.00 kB unpacked, 1.50 kB compressed; 1.00 kB, 500 B beside option 1",
        "   + It `saves`.",
        "   - It costs.",
        "   Dockerfile:",
        "      RUN pip install --no-cache-dir a",
        "   sh:",
        "      # or",
    ]
    assert "   saves nothing at once" in lines
    assert "[2 others]" in text(advice_report(image_manifest(), top=1))


def test_long_lines_to_paste_are_not_broken() -> None:
    manifest = image_manifest()
    edits = (replace(manifest.advice[0].edits[0], text=f"RUN rm {'x' * 200}"),)
    lines = text(advice_report(replace(manifest, advice=(replace(manifest.advice[0], edits=edits),)), top=1))
    assert f"      RUN rm {'x' * 200}" in lines


def test_artifacts_without_options_or_components_say_nothing_of_them() -> None:
    manifest = manifest_of({"a": b"1"})
    assert [components_report(manifest, top=5), advice_table(manifest, top=5), advice_hint(manifest), advice_report(manifest, top=5)] == [
        []
    ] * 4
    assert "could be done" not in analysis_markdown(manifest, top=5)
    assert "package" in as_text(analysis(manifest, top=5))


def whole(manifest: Manifest) -> list[str]:
    return text([analysis(manifest, top=9), *advice_table(manifest, top=9), *advice_report(manifest, top=9)])


def test_hostile_names_stay_text_in_a_terminal_of_80_columns() -> None:
    lines = whole(hostile_manifest())
    assert all(line.isprintable() for line in lines)
    assert "[red]" in "".join(lines)
    broken = [line for line in lines if len(line) > WIDTH]
    assert all(line.startswith("      ") for line in broken)  # lines to paste


def test_hostile_names_stay_text_in_markdown() -> None:
    written = analysis_markdown(hostile_manifest(), top=9)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub(r"(?s)\n(`{3,})\w*\n.*?\n\1\n", "", written))
    assert "<img" not in outside
    assert "@all" not in outside
    assert not re.search(r"^# x", outside, re.MULTILINE)
    assert "````" in written  # a block that three backticks in it do not end
    rows = [line for line in outside.splitlines() if line.startswith("| ") and "%" in line]
    assert {line.count("|") for line in rows} == {5, 6}  # of the options, and of what has files


def test_markdown_tells_each_option_folded() -> None:
    written = analysis_markdown(image_manifest(), top=9)
    assert "| 1: Do one | 6.50 kB | 3.70 kB | -35.1 % |" in written
    assert "| **all of these** | **5.50 kB** | **3.20 kB** | **-43.8 %** |" in written
    assert "- for: It `saves`.\n- against: It costs." in written
    assert "```sh\n# or\nmlbundle optimize a -o b\n```" in written
    assert "| **Python packages** | 5.00 kB | 50.0 % | 2.50 kB | 2 |" in written


def test_names_that_would_be_mentions_or_links_are_code() -> None:
    manifest = image_manifest()
    for title in ("by @someone", "see https://evil.example", "see www.evil.example"):
        written = analysis_markdown(replace(manifest, advice=(replace(manifest.advice[0], title=title),)), top=3)
        assert f"`{title}`" in written


def test_a_comparison_of_images_tells_packages_of_the_distribution() -> None:
    before, after = (
        replace(image_manifest(), components=(component("libc6", 9, "system", version), component("x", 5, "application", version)))
        for version in ("2.36", "2.41")
    )
    assert [(each.distribution, each.before, each.after) for each in compare(before, after).versions] == [("libc6", "2.36", "2.41")]
    assert compare(manifest_of({"a": b"1"}), after).versions == ()


@pytest.mark.parametrize("top", [0, 1, 100])
def test_any_number_of_rows_adds_up(top: int) -> None:
    manifest = image_manifest(9)
    groups = component_kinds(manifest, top)
    assert amount(manifest.components) == amount_of([group.whole for group in groups])
    assert [group.whole for group in groups] == [amount_of([amount(group.shown), group.rest]) for group in groups]
    assert sum(len(group.shown) for group in groups) == min(top, 9)


def amount_of(parts: list[Amount]) -> Amount:
    sums = [sum(getattr(part, name) for part in parts) for name in ("installed", "compressed", "files")]
    return Amount(installed=sums[0], compressed=sums[1], files=sums[2])
