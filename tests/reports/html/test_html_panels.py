"""What the panels of the page say, in a real browser."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hatch_mlbundle.manifest import BudgetRow, LayerRow, Saved
from hatch_mlbundle.units import format_percent, format_size
from tests.imagerows import hostile_manifest, image_manifest
from tests.reports.html.reportsmith import (
    HOSTILE,
    STRUCTURE,
    baseline_manifest,
    full_manifest,
    manifest_of,
    many_files,
    tensor,
    unchanged,
)

Page = Callable[..., Any]


def table(page: Any, caption: str) -> list[list[str]]:
    """Return the texts of a table's body, by the beginning of its caption; blanks are as a person sees them."""
    rows = page.evaluate(
        """(caption) => {
            const found = [...document.querySelectorAll("table")].find((each) => each.caption.textContent.startsWith(caption));
            return [...found.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.innerText));
        }""",
        caption,
    )
    return [[" ".join(cell.split()) for cell in row] for row in rows]


def size(number: int) -> str:
    return format_size(number)


def change(number: int) -> str:
    return f"{'+' if number > 0 else ''}{format_size(number)}"


def test_sizes_and_percents_read_as_those_of_python(full_page: Any) -> None:
    numbers = random.Random(7)
    sizes = [
        0,
        999,
        999_499,
        999_500,
        99_950,
        -1_125,
        2**53 - 1,
        *range(0, 400_000, 125),
        *(int(10 ** numbers.uniform(0, 15)) for _ in range(2_000)),
    ]
    assert full_page.evaluate("sizes => sizes.map(MLB.formatSize)", sizes) == [format_size(each) for each in sizes]
    shares = [(part, 800) for part in range(-900, 900)] + [
        (numbers.randrange(-(10**9), 10**9), numbers.randrange(10**9)) for _ in range(2_000)
    ]
    assert full_page.evaluate("shares => shares.map(([part, whole]) => MLB.formatPercent(part, whole))", shares) == [
        format_percent(*share) for share in shares
    ]


def test_numbers_read_as_those_of_python(full_page: Any) -> None:
    numbers = [-12.25, -0.25, -0.35, 0.25, 0.75, 12.25, -3.0]
    assert full_page.evaluate("numbers => numbers.map((each) => MLB.fixed(each, 1))", numbers) == [f"{each:.1f}" for each in numbers]


def test_every_path_is_read_back(page_for: Page) -> None:
    paths = sorted([*HOSTILE[:6], "/a", "a//b", "a/b/c", " "])
    page = page_for(manifest_of([unchanged(path, 1) for path in paths]))
    assert page.evaluate("Array.from({ length: MLB.report.count }, (_, row) => MLB.path(row))") == paths
    assert page.evaluate("MLB.visible('lone\\udc80 ' + 'right\\u202eto \\n')") == "lone\\u{dc80} right\\u{202e}to \\u{a}"
    assert page.evaluate("['  ', ' / a', 'a  b/ ', 'a b'].map(MLB.visible)") == [
        "\\u{20}\\u{20}",
        "\\u{20}/\\u{20}a",
        "a\\u{20}\\u{20}b/\\u{20}",
        "a b",
    ]
    assert page.evaluate("MLB.visibleLines('  a\\n b')") == "  a\n b"


def test_the_head_tells_the_totals_and_the_difference(full_page: Any) -> None:
    manifest, base = full_manifest(), baseline_manifest()
    before, after, former = manifest.artifact.before, manifest.artifact.after, base.artifact.after
    assert full_page.locator("h1").inner_text() == "app-2.0-py3-none-any.whl"
    grown = [
        f"{change(now - was)} (+{format_percent(now - was, was)})"
        for now, was in ((after.installed, former.installed), (after.size, former.size))
    ]
    assert full_page.locator(".headline").inner_text() == f"{grown[0]} installed, {grown[1]} compressed against app-1.0-py3-none-any.whl"
    figures = full_page.locator(".figures > div").all_inner_texts()
    assert figures[0].split("\n") == [
        "Installed",
        size(after.installed),
        f"{size(before.installed)} before the steps, {format_percent(after.installed - before.installed, before.installed)}",
    ]
    assert figures[1].split("\n")[:2] == ["Compressed", size(after.size)]
    assert figures[2].split("\n")[:2] == ["Files", "12"]
    assert figures[3].split("\n") == ["Budget", "Over", "1 of 4 limits, 1 not measured"]


def test_without_a_baseline_the_head_tells_what_the_steps_saved(page_for: Page) -> None:
    manifest = full_manifest()
    before, after = manifest.artifact.before, manifest.artifact.after
    told = page_for(manifest).locator(".headline").inner_text()
    assert told.startswith(f"{format_percent(before.installed - after.installed, before.installed)} smaller installed, ")


def test_the_budget_tells_each_limit(full_page: Any) -> None:
    assert table(full_page, "Each limit") == [
        ["installed", "over", "150 MB", "152 MB", "101.2 %", "gpu: 88.5 MB"],
        ["growth", "kept", "5.0 %", "0.2 %", "4.0 %", ""],
        ["files", "overridden", "10", "12", "120.0 %", "Override up to 20: until the next release"],
        ["startup", "not measured", "2.00 s", "-", "", "it was not verified"],
    ]


def test_a_manifest_that_keeps_its_limits_tells_them(page_for: Page) -> None:
    row = BudgetRow(limit="installed", unit="bytes", allowed=100e6, actual=151e6, status="overridden", reason="a new model")
    page = page_for(replace(full_manifest(), budget=(row,)))
    assert table(page, "Each limit") == [["installed", "overridden", "100 MB", "151 MB", "151.0 %", "Override: a new model"]]
    assert page.locator(".figures > div").last.inner_text().split("\n") == ["Budget", "Kept", "1 limit"]


def test_groups_add_up_to_the_whole(full_page: Any) -> None:
    manifest = full_manifest()
    for caption, key in (("By package, after", "owner"), ("By kind, after", "kind")):
        rows = table(full_page, caption)
        groups: dict[str, list[Any]] = {}
        for each in manifest.files:
            if each.after:
                groups.setdefault(getattr(each, key), []).append(each.after)
        for name, installed, share, compressed, files, _ in rows[:-2]:
            states = groups.pop(name)
            total = sum(state.size for state in states)
            assert (installed, share) == (size(total), format_percent(total, manifest.artifact.after.installed))
            assert (compressed, files) == (size(sum(state.compressed for state in states)), str(len(states)))
        assert groups == {}
        after = manifest.artifact.after
        assert rows[-2] == ["(zip headers)", "", "", size(STRUCTURE), "", ""]
        assert rows[-1][:5] == ["All", size(after.installed), "", size(after.size), "12"]


def test_an_image_tells_its_layers_and_what_belongs_to_no_file(page_for: Page) -> None:
    sizes = {"digest": "sha256:0", "files": 1, "compressed": 1, "hidden_compressed": 0}
    layers = [
        LayerRow(created_by=made, size=1000 * (at + 1), installed=at, hidden_installed=5, **sizes)
        for at, made in enumerate(["<img src=x onerror=alert(1)>", *("RUN make" for _ in range(18))])
    ]
    manifest = full_manifest()
    page = page_for(replace(manifest, layers=tuple(layers), artifact=replace(manifest.artifact, kind="image")))
    rows = table(page, "Bytes that each layer brings")
    assert rows[0] == ["RUN make", "19", "18 B", "5 B", "19.0 kB"]
    assert rows[-2:] == [["[4 others]", "", "6 B", "20 B", "10.0 kB"], ["All", "", "171 B", "95 B", "190 kB"]]
    page.locator("#layers .more").click()
    assert table(page, "Bytes that each layer brings")[-2][0] == "<img src=x onerror=alert(1)>"
    assert table(page, "By package, after")[-2][0] == "(hidden files, headers of layers)"
    assert "bytes of no file (hidden files, headers of layers) add up to" in page.locator("footer").inner_text()


def test_an_image_tells_its_components_and_what_could_be_done(page_for: Page) -> None:
    page = page_for(image_manifest())
    assert table(page, "By kind, in bytes that a container sees")[0][:4] == ["Python packages (2)", "50.0 %", "5.00 kB", "2.50 kB"]
    rows = table(page, "The largest first")
    assert rows[0][1:] == ["Python packages", "4.00 kB", "2.00 kB", "1"]
    assert [row[2] for row in rows[-2:]] == ["", "10.0 kB"]
    sizes = table(page, "The image now, with each option")
    assert sizes[0][1:3] == ["10.5 kB", "5.70 kB"]
    assert sizes[2] == ["2: Do two", "7.50 kB", "4.20 kB", "-26.3 %"]
    assert sizes[-1] == ["All of these", "5.50 kB", "3.20 kB", "-43.8 %"]
    page.locator("#advice summary").first.click()
    assert page.locator("#advice pre").first.inner_text() == "RUN pip install --no-cache-dir a"
    assert page.locator("#advice li").first.inner_text() == "for: It saves."


def test_hostile_components_and_options_stay_text(page_for: Page) -> None:
    page = page_for(hostile_manifest())
    for summary in page.locator("#advice summary").all():
        summary.click()
    assert page.locator("#advice img, #components img").count() == 0
    assert "</pre></script>" in page.locator("#advice pre").first.inner_text()
    told = page.locator("#advice").inner_text() + page.locator("#components").inner_text()
    assert "<img src=x onerror=alert(1)>" in told
    assert not {"\x1b", "\u202e"} & set(told)


def test_groups_beyond_the_largest_are_one_row_until_they_are_asked_for(page_for: Page) -> None:
    entries = [unchanged(f"p{at}/file", 1_000 * (at + 1), owner=f"p{at}") for at in range(40)]
    page = page_for(manifest_of(entries))
    rows = table(page, "By package")
    assert (len(rows), rows[10][:2]) == (13, ["[30 others]", size(sum(1_000 * (at + 1) for at in range(30)))])
    page.locator("#packages .more").click()
    assert [row[0] for row in table(page, "By package")[:40]] == [f"p{at}" for at in reversed(range(40))]
    assert page.locator("#packages .more").is_hidden()
    assert page.evaluate("document.activeElement.cells[0].innerText") == "p29"


def test_the_largest_files_can_be_ranked_otherwise(page_for: Page) -> None:
    page = page_for(full_manifest())
    assert [row[:2] for row in table(page, "The largest")[:2]] == [["app/libs/libgpu.so", "88.5 MB"], ["app/libs/libcore.so", "31.0 MB"]]
    page.get_by_role("button", name="By steps").press("Enter")
    assert [row[0] for row in table(page, "The largest")[:2]] == ["app/model/model.safetensors", "app/libs/libcore.so"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("By steps")
    assert page.evaluate("document.activeElement.textContent") == "By steps"


def test_the_largest_files_and_their_rest_add_up(page_for: Page) -> None:
    page = page_for(many_files(500))
    total = sum(row.after.size for row in many_files(500).files if row.after)
    for shown in (15, 50):
        rows = table(page, "The largest")
        assert (len(rows), rows[-1][0]) == (shown + 1, f"[{500 - shown} others]")
        listed = sorted((row.after.size for row in many_files(500).files if row.after), reverse=True)[:shown]
        assert rows[-1][1] == size(total - sum(listed))
        page.locator("#largest .more").evaluate("button => button.click()")


def test_the_largest_files_are_those_that_the_map_shows(page_for: Page) -> None:
    page = page_for(full_manifest())
    page.locator("#packages").get_by_role("button", name="numpy").click()
    assert [row[0] for row in table(page, "The largest of 2 files that the map shows")] == ["numpy/core.so", "numpy-2.1.dist-info/METADATA"]
    page.keyboard.press("Home")
    assert len(table(page, "The largest of 12 files")) == 12


def test_duplicates_are_told_with_all_their_paths(page_for: Page) -> None:
    page = page_for(full_manifest())
    rows = table(page, "Files with the same bytes")
    assert rows[0] == ["app/copy/a.bin and 2 copies", "500 kB", "3"]
    assert rows[-1] == ["All", "500 kB", "3"]
    page.locator("#duplicates summary").click()
    page.wait_for_selector("#duplicates li")
    assert page.locator("#duplicates li").all_inner_texts() == ["app/copy/b.bin", "app/copy/c.bin"]


def test_duplicates_of_files_without_hashes_are_not_known(page_for: Page) -> None:
    manifest = manifest_of([unchanged("a", 5), unchanged("b", 5)])
    files = tuple(replace(row, after=replace(row.after, sha256=None)) for row in manifest.files if row.after)
    assert page_for(replace(manifest, files=files)).locator("#duplicates p").inner_text() == "Not known: the files were not hashed."


def test_the_steps_lead_from_before_to_after(page_for: Page) -> None:
    manifest = replace(full_manifest(), remainder=Saved(installed=0, compressed=0))
    page = page_for(manifest)
    for measure, index in (("installed", 0), ("compressed", 1)):
        if measure == "compressed":
            page.locator("#waterfall").get_by_label("Compressed").check()
        rows = table(page, f"Bytes {measure}")
        assert [row[0] for row in rows] == ["before", "test_data", "strip", "quantize lossy", "deduplicate", "after"]
        left = [manifest.artifact.before.installed, manifest.artifact.before.size][index]
        assert rows[0][3] == size(left)
        for row, step in zip(rows[1:-1], manifest.steps, strict=True):
            saved = [step.saved.installed, step.saved.compressed or 0][index]
            left -= saved
            assert (row[2], row[3]) == (change(-saved), size(left))
        assert rows[-1][3] == size([manifest.artifact.after.installed, manifest.artifact.after.size][index]) == size(left)


def test_the_remainder_is_a_step_of_its_own(page_for: Page) -> None:
    manifest = replace(full_manifest(), remainder=Saved(installed=-2_000, compressed=-1_000))
    rows = table(page_for(manifest), "Bytes installed")
    assert rows[-2][:3] == ["dist-info, zip headers", "", "+2.00 kB"]
    odd = replace(manifest, artifact=replace(manifest.artifact, kind="constructor"))
    assert table(page_for(odd), "Bytes installed")[-2][0] == "other"


def test_changes_against_the_baseline(full_page: Any) -> None:
    rows = full_page.locator("#changes table").nth(0).locator("tbody tr").all_inner_texts()
    assert rows[0].split("\t") == ["numpy", "+500 kB", "+250 kB", "6.50 MB", "7.00 MB"]
    assert table(full_page, "Releases") == [["app", "1.0", "2.0"], ["numpy", "2.0", "2.1"]]
    files = {row[0]: row[1:] for row in table(full_page, "Files that changed")}
    assert files["app/old.bin"] == ["-2.00 MB", "2.00 MB", "", "removed"]
    assert files["app/libs/libcore.so"] == ["+1.00 MB", "30.0 MB", "31.0 MB", "changed"]
    assert files["app/moved/table.bin from app/table.bin"] == ["0 B", "500 kB", "500 kB", "moved"]
    assert files["app/copy/a.bin"] == ["+250 kB", "", "250 kB", "added"]
    grown = full_manifest().artifact.after.installed - baseline_manifest().artifact.after.installed
    assert files["All"][0] == change(grown)


def test_a_baseline_that_is_the_same_changes_nothing(page_for: Page) -> None:
    page = page_for(full_manifest(), full_manifest())
    assert page.locator("#changes").inner_text().split("\n")[-1] == "No file differs."
    assert page.locator(".headline").inner_text().startswith("the same size installed, the same size compressed")


def test_what_was_empty_before_is_new(page_for: Page) -> None:
    page = page_for(manifest_of([unchanged("new.bin", 5_000)]), manifest_of([]))
    assert page.locator(".headline").inner_text().startswith("+5.00 kB (new) installed")


def test_many_changes_add_up(page_for: Page) -> None:
    base = manifest_of([unchanged(f"file_{at}", at + 1, sha256=f"old {at}") for at in range(700)])
    now = manifest_of([unchanged(f"file_{at}", 2 * (at + 1)) for at in range(700)])
    rows = table(page_for(now, base), "Files that changed")
    assert rows[20][:2] == ["[680 others]", change(sum(range(1, 681)))]
    assert rows[21][:2] == ["All", change(sum(range(1, 701)))]


def test_insides_add_up_by_view(full_page: Any) -> None:
    assert table(full_page, "Binaries by section, in 2 files") == [
        [".text", "25.0 MB", "65.8 %"],
        [".rodata", "9.00 MB", "23.7 %"],
        ["(headers)", "2.00 MB", "5.3 %"],
        ["(padding)", "2.00 MB", "5.3 %"],
        ["All", "38.0 MB", ""],
    ]
    assert [row[0] for row in table(full_page, "GPU code by architecture, in 1 file")] == ["sm_90", "sm_80", "ptx_80", "All"]
    assert table(full_page, "Models by the type of their tensors: the largest")[0] == [
        "app/model/model.safetensors I8 97.5 %, F32 2.5 %",
        "24.0 MB",
    ]


def test_what_libraries_could_lose_is_told_for_the_gpu_that_is_chosen(page_for: Page) -> None:
    page = page_for(full_manifest())
    assert table(page, "GPU code by library and architecture") == [
        ["app/libs/libgpu.so", "75.0 MB", "50.0 MB", "20.0 MB", "5.00 MB"],
        ["All", "75.0 MB", "50.0 MB", "20.0 MB", "5.00 MB"],
    ]
    chosen = {
        "9.0": [["MIT", "1.00 MB", "25.0 MB", "26.0 MB"], ["", "2.00 MB", "", "2.00 MB"], ["", "3.00 MB", "25.0 MB", "28.0 MB"]],
        "8.0": [["MIT", "1.00 MB", "55.0 MB", "56.0 MB"], ["", "2.00 MB", "", "2.00 MB"], ["", "3.00 MB", "55.0 MB", "58.0 MB"]],
    }
    for target, (gpu, core, whole) in chosen.items():  # that with most code comes first by itself
        if target == "8.0":
            page.get_by_role("group", name="GPUs whose code stays").get_by_role("radio", name=target).check()
        assert table(page, "What libraries could lose") == [
            ["app/libs/libgpu.so", *gpu],
            ["app/libs/libcore.so", *core],
            ["numpy/core.so stays: a program, or a library that is one, too", "to be named", "", "", ""],
            ["All", *whole],
        ]
        assert page.locator("#libraries caption").nth(1).inner_text().endswith(f"all GPU code but for {target}, both")


def test_what_goes_without_naming_any_library_is_told_where_that_is_less(page_for: Page) -> None:
    manifest = full_manifest()
    bare = replace(
        manifest, removable=tuple(replace(row, gpu=replace(row.gpu, licence="") if row.gpu else None) for row in manifest.removable)
    )
    assert table(page_for(bare), "What libraries could lose")[-2:] == [
        ["All", "", "3.00 MB", "25.0 MB", "28.0 MB"],
        ["Without any named in libraries of gpu_code", "", "3.00 MB", "", "3.00 MB"],
    ]


def test_the_details_of_a_library_say_what_it_could_lose(full_page: Any) -> None:
    names = full_page.evaluate("MLB.report.names")
    pairs = [full_page.evaluate("row => MLB.libraries.facts(MLB.report, row)", names.index(name)) for name in ("libgpu.so", "config.json")]
    assert pairs == [[["Could lose", "1.00 MB: symbols, debug data"], ["Could lose", "25.0 MB: GPU code but for 9.0"]], []]


def test_a_search_is_drawn_and_told(full_page: Any) -> None:
    rows = table(full_page, "What was tried")
    assert [row[0] for row in rows][:3] == [
        "I8 by row",
        "I8 by row, 1 tensor I8 in groups of 32",
        "I8 by row, 3 tensors I8 in groups of 32",
    ]
    assert [row[-1] for row in rows] == ["missed", "missed", "taken", "within", "within"]
    assert rows[1][1:4] == ["23.4 MB", "not finite", "-"]
    plot = full_page.locator("svg.scatter")
    plot.wait_for()
    assert [plot.locator(f".{mark}").count() for mark in ("kept", "missed", "ring")] == [3, 1, 1]
    assert plot.locator("text.bound").text_content() == "bound: at least 0.9995"
    assert "1 - cosine: 4 trials" in plot.get_attribute("aria-label")


def test_points_stand_where_their_size_and_error_are(full_page: Any) -> None:
    full_page.locator("svg.scatter").wait_for()
    places = full_page.evaluate(
        "[...document.querySelectorAll('.scatter .kept')].map(g => [g.querySelector('title').textContent.split(':')[0], "
        "g.querySelector('circle').cx.baseVal.value, g.querySelector('circle').cy.baseVal.value])"
    )
    across = [name for name, _, _ in sorted(places, key=lambda place: place[1])]
    upwards = [name for name, _, _ in sorted(places, key=lambda place: -place[2])]
    assert across == ["I8 by row, 3 tensors I8 in groups of 32", "I8 in groups of 32", "F16"]
    assert upwards == ["F16", "I8 in groups of 32", "I8 by row, 3 tensors I8 in groups of 32"]
    bound = full_page.evaluate("document.querySelector('.scatter line.bound').y1.baseVal.value")
    assert all(y > bound for _, _, y in places)


def test_tensors_beyond_the_largest_are_one_row(page_for: Page) -> None:
    (detail,) = full_manifest().details
    tensors = [tensor(f"layer.{at}", 1_000 * (at + 1), 250 * (at + 1)) for at in range(300)]
    manifest = replace(full_manifest(), details=(replace(detail, detail={**detail.detail, "tensors": tensors}),))
    page = page_for(manifest)
    page.get_by_text("Tensors (300)").click()
    page.locator("#models details .more").click()
    rows = table(page, "Tensors")
    assert rows[0] == ["layer.299", "75000 \u00d7 4", "F32", "I8 by row", "300 kB", "75.0 kB", "41.2 dB"]
    assert (len(rows), rows[200][0], rows[200][4]) == (202, "[100 others]", size(sum(1_000 * (at + 1) for at in range(100))))
    assert rows[201][4] == size(sum(1_000 * (at + 1) for at in range(300)))


def test_findings_and_suggestions(page_for: Page) -> None:
    page = page_for(full_manifest())
    assert table(page, "Findings") == [
        ["MB103", "it no longer loads: undefined symbol: init strip: app/libs/libcore.so", "31.0 MB"],
        ["MB001", "mlbundle is not the last build hook", ""],
    ]
    cards = page.locator("#suggestions .card").all_inner_texts()
    assert "56.0 MB installed in 3 files" in cards[0]
    assert "12.0 MB installed, 9.00 MB compressed in 1 file" in cards[1]
    assert "lossy" in cards[1]
    page.get_by_role("button", name="Copy the configuration of quantize").click()
    page.locator("#suggestions .card").nth(1).get_by_text("Copied").wait_for()
    box = page.locator("input[type=search]").first
    box.focus()
    page.keyboard.press("Control+V")
    assert box.input_value().split() == ["[tool.mlbundle.quantize]", "dtype", "=", '"int8"']


def test_what_a_check_of_the_budget_found_is_among_the_findings(full_page: Any) -> None:
    assert table(full_page, "Findings")[-1] == ["MB402", "startup was not measured", ""]


def test_how_it_was_made_is_there_to_open(page_for: Page) -> None:
    page = page_for(full_manifest())
    page.get_by_text("Step quantize").click()
    assert '"**/keep/**"' in page.locator("#making pre").first.inner_text()
    assert table(page, "Packed into") == [["app.tar.zst", "tar.zst", "60.0 MB", "a" * 64]]
    assert table(page, "Files beside") == [["libcore.so.debug", "9.00 MB", "b" * 64]]


def test_the_totals_are_said_to_add_up_only_where_they_do(page_for: Page) -> None:
    assert [line[0] for line in page_for(full_manifest()).locator("footer li").all_inner_texts()] == ["✓", "✓", "✓"]
    manifest = full_manifest()
    wrong = replace(manifest, files=manifest.files[1:])
    assert "does not add up" in page_for(wrong).locator("footer").inner_text()


def test_panels_with_nothing_to_say_are_left_out(page_for: Page) -> None:
    page = page_for(manifest_of([unchanged("a/b", 10)]))
    assert page.locator("main > section").evaluate_all("all => all.map(each => each.id)") == [
        "map",
        "packages",
        "kinds",
        "largest",
        "making",
    ]
    assert page_for(manifest_of([])).locator("h1").inner_text() == "app-2.0-py3-none-any.whl"
