"""How the page behaves in a real browser: theme, keyboard, screen readers, narrow windows, frames, hostile names."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.html.page import html_report
from tests.reports.html.reportsmith import (
    BUDGET,
    HOSTILE,
    baseline_manifest,
    full_manifest,
    hostile_manifest,
    many_files,
)

Page = Callable[..., Any]


def background(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_follows_the_system_until_one_is_chosen(page_for: Page) -> None:
    page = page_for(full_manifest(), scheme="dark")
    dark = background(page)
    page.get_by_label("Light").check()
    light = background(page)
    assert light != dark
    page.emulate_media(color_scheme="light")
    page.get_by_label("Auto").check()
    assert background(page) == light
    page.get_by_label("Dark").check()
    assert background(page) == dark
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert background(page) == dark
    assert page.get_by_label("Dark").is_checked()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(page_for: Page, scheme: str) -> None:
    page = page_for(full_manifest(), baseline_manifest(), BUDGET, scheme=scheme)
    weak = page.evaluate(
        """() => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
            const context = canvas.getContext("2d", { willReadFrequently: true });
            const over = (colour, base) => {
                context.fillStyle = base; context.fillRect(0, 0, 1, 1);
                context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
                const data = context.getImageData(0, 0, 1, 1).data;
                return `rgb(${data[0]} ${data[1]} ${data[2]})`;
            };
            const light = (colour) => {
                const part = (value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
                const [r, g, b] = colour.match(/\\d+/g).map(Number).map(part);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const behind = (node) => (node ? over(getComputedStyle(node).backgroundColor, behind(node.parentElement)) : "rgb(255 255 255)");
            const weak = [];
            for (const node of document.querySelectorAll("#report *")) {
                const own = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
                if (!own || node.closest("#map-place, .unseen, title")) continue;
                const style = getComputedStyle(node);
                const back = behind(node);
                const [a, b] = [light(over(node.closest("svg") ? style.fill : style.color, back)), light(back)];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (ratio < 4.5) weak.push([node.textContent.slice(0, 40), ratio]);
            }
            return weak;
        }"""
    )
    assert weak == []


def test_the_keyboard_goes_through_the_page_in_its_order(page_for: Page) -> None:
    page = page_for(full_manifest(), baseline_manifest(), BUDGET)
    focused = []
    for _ in range(6):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.value ?? document.activeElement.textContent"))
    assert focused == ["auto", "Budget", "Map", "Changes", "Saved by the steps", "Could save"]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Could save"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Configuration that adds upx"


def test_a_file_of_a_table_is_shown_in_the_map(page_for: Page) -> None:
    page = page_for(full_manifest())
    page.evaluate("MLB.on('select', (detail) => { window.selected = detail.row; })")
    page.locator("#findings").get_by_role("button", name="app/libs/libcore.so").press("Enter")
    assert page.evaluate("MLB.path(window.selected)") == "app/libs/libcore.so"
    assert page.evaluate("document.getElementById('map-place').contains(document.activeElement)")


INTERACTIVE = {
    "button",
    "link",
    "radio",
    "checkbox",
    "combobox",
    "textbox",
    "searchbox",
    "DisclosureTriangle",
    "treeitem",
    "tab",
    "image",
}


def test_whatever_can_be_used_has_a_name(page_for: Page) -> None:
    page = page_for(full_manifest(), baseline_manifest(), BUDGET, width=400)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    used = [node for node in tree if not node["ignored"] and node["role"]["value"] in INTERACTIVE]
    assert len(used) > 40
    focusable = [
        node for node in tree if any(each["name"] == "focusable" and each["value"]["value"] for each in node.get("properties", ()))
    ]
    nameless = [node for node in [*used, *focusable] if not node.get("name", {}).get("value") and node["role"]["value"] != "RootWebArea"]
    assert [node["role"] for node in nameless] == []
    assert {node["name"]["value"] for node in tree if node["role"]["value"] == "table"} >= {
        "By kind",
        "Files that changed",
        "What was tried, the smallest first",
    }


@pytest.mark.parametrize("manifest", [full_manifest, hostile_manifest], ids=["full", "hostile"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_the_page(page_for: Page, manifest: Callable[[], Manifest], width: int) -> None:
    former = baseline_manifest()
    long = replace(former, artifact=replace(former.artifact, name=f"{'x' * 80}-manylinux_2_17_x86_64.whl"))
    page = page_for(manifest(), long, BUDGET, width=width)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_sheet_of_paper_is_wide_enough(page_for: Page) -> None:
    page = page_for(full_manifest(), baseline_manifest(), BUDGET, width=718)  # A4 with margins of 1 cm
    page.emulate_media(media="print")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") == 718
    assert page.evaluate("[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth).length") == 0


def test_tables_are_seen_whole_on_an_ordinary_screen(full_page: Any) -> None:
    wide = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth).map(each => each.innerText)"
    assert full_page.evaluate(wide) == []


def test_what_is_wider_than_the_page_can_be_scrolled_by_keyboard(page_for: Page) -> None:
    page = page_for(full_manifest(), baseline_manifest(), BUDGET, width=400)
    page.wait_for_timeout(100)
    unreachable = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth && each.tabIndex !== 0).length"
    )
    assert unreachable == 0
    assert page.evaluate("[...document.querySelectorAll('.scroll[tabindex]')].length") > 0


def test_hostile_names_do_nothing(page_for: Page) -> None:
    page = page_for(hostile_manifest(), baseline_manifest())
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.evaluate("for (const each of document.querySelectorAll('.more')) each.click()")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hacked") is None
    assert page.locator("#report script, #report img, #report iframe").count() == 0
    text = page.locator("main").inner_text()
    assert HOSTILE[0] in text
    assert "right\\u{202e}to\\u{2066}left" in text
    assert "lone\\u{dc80}surrogate" in text
    assert "\u202e" not in text


@pytest.mark.parametrize("manner", ["src", "srcdoc"])
@pytest.mark.parametrize("count", [10, 2_000])
def test_the_page_works_in_a_sandboxed_frame(open_page: Page, tmp_path: Path, manner: str, count: int) -> None:
    text = html_report(many_files(count))
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    source = 'src="report.html"' if manner == "src" else f'srcdoc="{html.escape(text)}"'
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<!doctype html><link rel="icon" href="data:,"><iframe sandbox="allow-scripts" width="1000" height="800" {source}></iframe>'
    )
    page = open_page(outer, frames=("report.html",))
    frame = page.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for(state="attached")
    assert frame.locator("h1").inner_text() == "app-2.0-py3-none-any.whl"
    frame.get_by_label("Dark").check()
    assert frame.locator("html").get_attribute("data-theme") == "dark"
    frame.locator("#largest .file").first.click()
    assert frame.locator("#largest tbody tr").count() >= 10


def test_an_old_browser_is_told_which_ones_can(open_page: Page, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html_report(many_files(2_000)), encoding="utf-8")
    page = open_page(path, script="delete window.DecompressionStream")
    page.get_by_text("This browser cannot unpack the report").wait_for()


def test_without_scripts_the_totals_are_told(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html_report(full_manifest()), encoding="utf-8")
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator("noscript p").first.inner_text().startswith("12 files, 152 MB installed")
