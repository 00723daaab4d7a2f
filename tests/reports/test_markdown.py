"""Markdown reports, read by a real parser of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hatch_mlbundle.budget import BudgetCheck, LimitResult
from hatch_mlbundle.compare import Comparison, FileChange, GroupChange, Side, Sizes, VersionChange
from hatch_mlbundle.manifest import ArtifactRow, BudgetStatus, FileRow, FileState, Manifest, Saved, StepRow, SuggestionRow, Totals
from hatch_mlbundle.model import Finding
from hatch_mlbundle.reports.markdown import analysis_markdown, check_markdown, comparison_markdown
from hatch_mlbundle.reports.markdown_parts import LIMIT, code, marker
from hatch_mlbundle.units import format_size

MB = 10**6
HOSTILE = [
    "a|b",
    "a`b``c",
    "`",
    "line\nbreak\r\n\n# heading",
    "<script>alert(1)</script>",
    "@maintainer #123 GH-7 owner/repo#5",
    "[x](javascript:alert(1))",
    "![x](https://example.org/pixel.png)",
    "https://example.org www.example.org a@example.org",
    "--><b>out</b><!--",
    "</summary></details><img src=x onerror=y>",
    "\u202eexe.so\u2066\u200b",
    "surrogate\udcff",
    "tab\tnul\x00esc\x1b[31m",
    "back\\slash\\|pipe",
    "trailing\\",
    " ",
    "",
    "n" * 300,
    "**bold** _it_ ~~no~~ $x$ <!-- c -->",
]


def sizes(installed: int, compressed: int | None, files: int = 1) -> Sizes:
    return Sizes(installed=installed, compressed=compressed, files=files)


def grown(name: str, before: int, after: int, *, packs: bool = True) -> GroupChange:
    return GroupChange(name=name, before=sizes(before, before // 2 if packs else None), after=sizes(after, after // 2 if packs else None))


def changed(path: str, before: int | None, after: int | None, former: str | None = None) -> FileChange:
    states = [None if size is None else FileState(size=size, compressed=size // 2, sha256="x") for size in (before, after)]
    status = "moved" if former is not None else "added" if before is None else "removed" if after is None else "changed"
    return FileChange(path=path, status=status, kind="data", owner="pkg", before=states[0], after=states[1], former=former)  # type: ignore[arg-type]


def comparison(*owners: GroupChange, packs: bool = True, files: tuple[FileChange, ...] = (), **more: object) -> Comparison:
    """Return a comparison whose sides are what the owners add up to, and 1,000 and 1,500 bytes of archive headers."""

    def side(name: str, parts: list[Sizes], structure: int) -> Side:
        packed = sum(part.compressed or 0 for part in parts) + structure if packs else None
        whole = sizes(sum(part.installed for part in parts), packed, len(parts))
        return Side(name=name, kind="wheel" if packs else "folder", sizes=whole, structure=structure if packs else 0)

    before = side("app-1.whl", [owner.before for owner in owners], 1_000)
    after = side("app-2.whl", [owner.after for owner in owners], 1_500)
    values = {"owners": owners, "kinds": owners, "versions": (), "hashed": True, "files": files, **more}
    return Comparison(before=before, after=after, **values)  # type: ignore[arg-type]


def limit(name: str, status: BudgetStatus = "ok", **more: object) -> LimitResult:
    values = {"unit": "bytes", "allowed": 250 * MB, "actual": 260 * MB if status in ("over", "overridden") else 200 * MB, **more}
    return LimitResult(limit=name, key=name, status=status, **values)  # type: ignore[arg-type]


def budget(*results: LimitResult, artifact: str = "app-2.whl") -> BudgetCheck:
    return BudgetCheck(artifact=artifact, baseline="app-1.whl", results=results)


def manifest(files: dict[str, int], *findings: Finding, name: str = "app.whl") -> Manifest:
    rows = tuple(
        FileRow(path=path, kind="data", owner=path.partition("/")[0], before=state, after=state)
        for path, size in files.items()
        for state in [FileState(size=size, compressed=size // 2, sha256=f"{size}")]
    )
    installed = sum(files.values())
    packed = sum(size // 2 for size in files.values())
    before = Totals(size=packed + 500, installed=installed + 1_000, structure=100, files=len(rows), sha256="b")
    after = Totals(size=packed + 100, installed=installed, structure=100, files=len(rows), sha256="a")
    saved = Saved(installed=1_000, compressed=400)
    step = StepRow(optimizer="strip", distribution="d", version="1", lossless=True, options={}, changes={"rewrite": 1}, saved=saved)
    return Manifest(
        generator="test",
        artifact=ArtifactRow(name=name, kind="wheel", before=before, after=after),
        tools=(),
        configuration={},
        steps=(step,),
        remainder=Saved(installed=0, compressed=0),
        files=rows,
        companions=(),
        findings=findings,
    )


def tokens(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)


def spans(text: str) -> Iterator[Token]:
    for token in tokens(text):
        yield from token.children or []


def rows_of(text: str) -> list[list[list[str]]]:
    """Return the tables of a text: rows of cells, each as plain text."""
    tables: list[list[list[str]]] = []
    inside = False
    for token in tokens(text):
        if token.type in ("table_open", "table_close"):
            inside = token.type == "table_open"
            tables += [[]] if inside else []
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and inside:
            tables[-1][-1].append("".join(each.content for each in token.children or []))
    return tables


def check_sound(text: str) -> None:
    """Check that all is as wide as its head, and that nothing of it can do anything but lie there."""
    assert len(text.encode()) <= LIMIT
    for rows in rows_of(text):
        assert len({len(row) for row in rows}) == 1, rows
    for token in spans(text):
        assert token.type in {"text", "code_inline", "strong_open", "strong_close", "softbreak"}, token
        if token.type == "text":
            assert not re.search(r"[@#<]|://|www\.", token.content), token.content
    html = [line for token in tokens(text) if token.type == "html_block" for line in token.content.splitlines() if line]
    assert html[0].startswith("<!-- mlbundle: ")
    for line in html:
        assert re.fullmatch(r"<!-- mlbundle: (?:(?!--|<|>).)*-->|<details><summary>[\w :,]+</summary>|</details>", line), line
    opened = [line.startswith("<details>") for line in html[1:]]
    assert opened == [number % 2 == 0 for number in range(len(opened))]


def first_line(text: str) -> str:
    return text.splitlines()[2]


def test_the_difference_comes_first() -> None:
    text = comparison_markdown(comparison(grown("torch", 100 * MB, 112_300_000), grown("numpy", 40 * MB, 40 * MB)), top=10)
    assert text.splitlines()[:2] == ["<!-- mlbundle: app-2.whl -->", ""]
    assert first_line(text) == "**+12.3 MB installed (+8.8 %)**, compressed +6.15 MB (+8.8 %): `app-2.whl`"
    check_sound(text)


def test_what_did_not_change_is_told_in_words() -> None:
    same = comparison(grown("torch", 100, 100, packs=False), packs=False)
    text = comparison_markdown(same, top=10)
    assert first_line(text) == "**no change installed**: `app-2.whl`"
    assert rows_of(text) == []


def test_nothing_before_is_no_percentage() -> None:
    text = comparison_markdown(comparison(grown("torch", 0, 5 * MB, packs=False), packs=False), top=1)
    assert first_line(text) == "**+5.00 MB installed (new)**: `app-2.whl`"


@pytest.mark.parametrize("top", [0, 1, 2, 3, 50])
def test_the_parts_add_up_to_the_total(top: int) -> None:
    owners = [grown("a", 1_000, 4_000), grown("b", 3_000, 2_000), grown("c", 500, 500), grown("d", 0, 100)]
    files = (changed("a/x", 1_000, 4_000), changed("b/y", 3_000, 2_000), changed("d/z", None, 100))
    text = comparison_markdown(comparison(*owners, files=files), top=top)
    packages, kinds, listed = rows_of(text)
    assert packages == [["package", *packages[0][1:]], *packages[1:]]
    assert kinds[1:] == packages[1:]
    assert packages[-1] == ["total", "6.60 kB", "+2.10 kB", "4.80 kB", "+1.55 kB"]
    assert [sum(map(exact, column)) for column in list(zip(*packages[1:-1], strict=True))[1:]] == [6_600, 2_100, 4_800, 1_550]
    assert sum(exact(row[-1]) for row in listed[1:-1]) == 2_100
    assert (f"[{4 - min(top, 3)} others]" in {row[0] for row in packages}) == (min(top, 3) < 4)
    check_sound(text)


def exact(cell: str) -> int:
    """Return the bytes of a cell: sizes of the test are such that three digits say all."""
    number, _, unit = cell.lstrip("+").partition(" ")
    return round(float(number) * {"": 1, "B": 1, "kB": 1_000, "MB": MB}[unit]) if number else 0


def test_breaches_stand_right_below_the_difference() -> None:
    results = [
        limit("compressed"),
        limit("installed", "over", note="torch 180 MB"),
        limit("growth", "over", unit="percent", allowed=1.0, actual=2.5),
    ]
    text = check_markdown(budget(*results), comparison(grown("torch", 100 * MB, 112 * MB)), top=10)
    assert text.splitlines()[4:8] == [
        "**Over budget: 2 of 3 limits**",
        "",
        "- `installed`: **260 MB**, 10.0 MB over the 250 MB allowed; `torch 180 MB`",
        "- `growth`: **2.5 %**, 1.5 % over the 1 % allowed",
    ]
    assert rows_of(text)[-1][1:] == [
        ["installed", "250 MB", "260 MB", "over", "torch 180 MB"],
        ["growth", "1 %", "2.5 %", "over", ""],
        ["compressed", "250 MB", "200 MB", "kept", ""],
    ]
    check_sound(text)


def test_what_was_overridden_and_goes_beyond_that_is_told_whole() -> None:
    check = replace(
        budget(limit("files", "over", unit="files", allowed=10, actual=25, up_to=20)), findings=(Finding(code="MB823", message="|"),)
    )
    text = check_markdown(check, comparison(grown("torch", 1, 2)), top=10)
    assert "- `files`: **25**, 15 over the 10 allowed, and 5 over the 20 of its override\n" in text
    assert "<summary>Findings on the budget: 1</summary>\n\n- `MB823 \\x7c`" in text
    check_sound(text)


def test_a_kept_budget_is_one_line_with_what_was_overridden_or_not_measured() -> None:
    results = [limit("a"), limit("b", "overridden", reason="CUDA 13"), limit("c", "unmeasured", actual=None, unit="seconds", allowed=0.5)]
    text = check_markdown(budget(*results), comparison(grown("torch", 1, 2)), top=10)
    assert "\nWithin budget: 1 limit kept, 1 overridden, 1 not measured\n" in text
    assert ["b", "250 MB", "260 MB", "overridden", "CUDA 13"] in rows_of(text)[-1]
    assert ["c", "0.5 s", "", "not measured", ""] in rows_of(text)[-1]


def test_without_limits_the_budget_is_not_spoken_of() -> None:
    text = check_markdown(budget(), comparison(grown("torch", 1, 2)), top=10)
    assert "udget" not in text
    assert "limits" not in text


def test_without_a_baseline_a_check_says_what_takes_the_space() -> None:
    text = check_markdown(budget(limit("installed", "over")), manifest({"torch/a": 3_000, "numpy/b": 1_000}), top=1)
    assert first_line(text) == "**4.00 kB installed**, compressed 2.10 kB, 2 files, 20.0 % less than before all steps: `app.whl`"
    assert text.splitlines()[4] == "**Over budget: 1 of 1 limit**"
    assert rows_of(text)[0][1:] == [
        ["torch", "3.00 kB", "75.0 %", "1.50 kB", "1"],
        ["[1 others]", "1.00 kB", "25.0 %", "500 B", "1"],
        ["(zip headers)", "", "", "100 B", ""],
        ["total", "4.00 kB", "", "2.10 kB", "2"],
    ]
    check_sound(text)


def test_an_analysis_lists_duplicates_steps_and_findings() -> None:
    finding = Finding(code="MB103", message="no longer loads", path="a|b.so", optimizer="strip")
    text = analysis_markdown(manifest({"p/a": 70, "p/b": 70, "p/c": 10}, finding), top=10)
    tables = rows_of(text)
    assert ["file", "copies", "wasted"] in [each[0] for each in tables]
    assert ["total", "2", "70 B"] in [each[-1] for each in tables]
    assert [["strip", "-1.00 kB", "-400 B"], ["(writing)", "0 B", "0 B"], ["total", "-1.00 kB", "-400 B"]] in [each[1:] for each in tables]
    assert "- `MB103 strip: a\\x7cb.so: no longer loads`" in text
    check_sound(text)


def test_an_empty_artifact_has_a_report() -> None:
    text = analysis_markdown(manifest({}), top=10)
    assert first_line(text).startswith("**0 B installed**")
    check_sound(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_do_nothing(name: str) -> None:
    owners = [grown(name, 1, 2), grown(f"{name}2", 5, 9)]
    files = (changed(name, 1, 2), changed(f"{name}2", 5, 9, former=name))
    compared = comparison(*owners, files=files, versions=(VersionChange(distribution=name, before=name, after=None),))
    check = budget(limit(name, "over", note=name), limit(name, "overridden", reason=name), artifact=name)
    check_sound(comparison_markdown(compared, top=10))
    check_sound(check_markdown(check, compared, top=10))
    check_sound(analysis_markdown(manifest({f"{name}/a": 5, f"{name}/b": 5}, Finding(code="MB1", message=name), name=name), top=10))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=150))
def test_any_text_is_one_code_span_that_shows_it(text: str) -> None:
    row = f"| a | b |\n|---|---|\n| {code(text)} | 1 |\n"
    ((_, cells),) = rows_of(row)
    assert len(cells) == 2
    assert [each.type for each in spans(row)][1:2] == ["text"]
    assert [each.type for token in tokens(row) if token.type == "inline" for each in token.children or []] == [
        "text",
        "text",
        "code_inline",
        "text",
    ]
    assert cells[0].isprintable()


@pytest.mark.parametrize("text", ["options but not in `optimizers`; list it", "`", "``a```b` ", "`` ", " a ", "a\\`b\\"])
def test_text_with_backticks_is_shown_as_it_is(text: str) -> None:
    assert rows_of(f"| a |\n|---|\n| {code(text)} |\n")[0][1] == [text]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=150))
def test_any_name_has_a_marker_of_its_own_in_one_line(text: str) -> None:
    (token,) = tokens(marker(text))
    assert token.type == "html_block"
    assert re.fullmatch(r"<!-- mlbundle: (?:(?!--|[<>\n]).)* -->", token.content)
    assert marker(text) != marker(text + "-")


def test_names_are_shown_as_they_are_where_they_can_be() -> None:
    assert code("_internal/lib x/a-b_[1].so") == "`_internal/lib x/a-b_[1].so`"
    assert code("Straße/模型.bin") == "`Straße/模型.bin`"
    assert code("a\u202eb\n") == "`a\\u202eb\\n`"
    assert code("x\udcff") == "`x\\udcff`"
    assert len(code("d" * 300 + "/end.so")) < 130
    assert code("d" * 300 + "/end.so").endswith("/end.so`")


def test_20_000_files_and_thousands_of_limits_stay_within_a_comment() -> None:
    names = [f"{number:05}{'|`' * 60}" for number in range(20_000)]
    files = tuple(changed(name, 10, 30) for name in names)
    owners = [grown(name, 10, 30) for name in names]
    compared = comparison(*owners, files=files)
    check = budget(*(limit(name, "over", note=name) for name in names[:5_000]))
    for text in (
        comparison_markdown(compared, top=20_000),
        check_markdown(check, compared, top=20_000),
        analysis_markdown(manifest(dict.fromkeys(names, 7), *(Finding(code="MB1", message=name) for name in names)), top=20_000),
    ):
        check_sound(text)
        assert len(text.encode()) > LIMIT / 4
    listed = rows_of(comparison_markdown(compared, top=20_000))[-1]
    assert listed[-1] == ["total", "", "", "", f"+{format_size(400_000)}"]


def test_thousands_of_steps_and_suggestions_stay_within_a_comment() -> None:
    plain = manifest({"a": 7})
    (step,) = plain.steps
    advice = SuggestionRow(optimizer="s" * 100, lossless=True, files=1, saved=step.saved, configuration="")
    text = analysis_markdown(replace(plain, steps=(step,) * 2_000, suggestions=(advice,) * 2_000), top=2)
    check_sound(text)
    tables = rows_of(text)
    saved = ["-1.00 kB", "-400 B"]
    assert [["strip", *saved], ["strip", *saved], ["[1,998 others]", "-2.00 MB", "-799 kB"], ["(writing)", "0 B", "0 B"]] in [
        each[1:-1] for each in tables
    ]
    assert ["[1,998 others]", "", "", ""] in [each[-1] for each in tables]


def test_the_same_comparison_is_the_same_text() -> None:
    compared = comparison(grown("a", 1, 2), grown("b", 2, 1))
    assert comparison_markdown(compared, top=5) == comparison_markdown(compared, top=5)


def test_releases_and_missing_hashes_are_told() -> None:
    versions = (VersionChange(distribution="torch", before="2.4", after="2.5"), VersionChange(distribution="new", before=None, after="1"))
    text = comparison_markdown(comparison(grown("torch", 1, 2), versions=versions, hashed=False), top=10)
    assert [["torch", "2.4", "2.5"], ["new", "-", "1"]] in [each[1:] for each in rows_of(text)]
    assert "Contents were not compared" in text
    moved = comparison_markdown(comparison(grown("a", 1, 1), files=(changed("a/new", 5, 5, former="a/old"),)), top=10)
    assert "`a/old` → `a/new`" in moved
