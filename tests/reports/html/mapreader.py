"""The map of a page that is open in a browser, as a person meets it: boxes, places, keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hatch_mlbundle.manifest import Manifest
from tests.reports.html.reportsmith import manifest_of, unchanged

Page = Any
PageFor = Callable[..., Page]

BOXES = """() => [...document.querySelectorAll(".map-box")].map((box) => {
  const { left, top, width, height } = box.getBoundingClientRect();
  const stage = box.closest(".map-stage").getBoundingClientRect();
  const style = getComputedStyle(box);
  return {
    name: box.getAttribute("aria-label"), level: Number(box.getAttribute("aria-level")), group: box.classList.contains("map-group"),
    x: left - stage.left, y: top - stage.top, width, height, dim: box.classList.contains("dim"), tabindex: box.tabIndex,
    classes: box.className, background: style.background, color: style.color, text: box.textContent.replaceAll("\\u200b", ""),
  };
})"""


def boxes(page: Page) -> list[dict[str, Any]]:
    return page.evaluate(BOXES)  # type: ignore[no-any-return]


def names(page: Page) -> list[str]:
    return [box["name"].split(",")[0] for box in boxes(page)]


def box_named(page: Page, start: str) -> dict[str, Any]:
    return next(box for box in boxes(page) if box["name"].startswith(start))


def area(box: dict[str, Any]) -> float:
    return float(box["width"] * box["height"])


def click(page: Page, start: str) -> None:
    """Click a box where nothing covers it: a group's header, a file's corner."""
    box = box_named(page, start)
    stage = page.locator(".map-stage")
    stage.scroll_into_view_if_needed()
    stage.click(position={"x": box["x"] + 8, "y": box["y"] + min(8, box["height"] / 2)})


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.tagName")  # type: ignore[no-any-return]


def focus_map(page: Page) -> None:
    page.focus(".map-box[tabindex='0']")


def place(page: Page) -> list[str]:
    return page.locator(".map-crumbs bdi").all_text_contents()  # type: ignore[no-any-return]


def address(page: Page) -> str:
    return page.evaluate("location.hash")  # type: ignore[no-any-return]


def choose(page: Page, label: str) -> None:
    page.locator(".map-choices").get_by_role("radio", name=label).check()


def until(page: Page, condition: str) -> None:
    """Wait for a condition; `wait_for_function` would need `eval`, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def layers() -> Manifest:
    """Return a manifest with folders in folders: sizes in MB 40, 30, 20, 10 in one of them."""
    return manifest_of(
        [
            *(
                unchanged(f"lib/deep/inner/{name}.so", size * 10**6, kind="elf", owner="lib")
                for name, size in zip("abcd", (40, 30, 20, 10), strict=True)
            ),
            unchanged("lib/other/e.bin", 50_000_000, owner="lib"),
            unchanged("app/main.py", 30_000_000, kind="python"),
            unchanged("app/util.py", 20_000_000, kind="python"),
        ]
    )


def overlap(one: dict[str, Any], other: dict[str, Any]) -> float:
    across = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    down = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    return float(max(0, across - 0.1) * max(0, down - 0.1))
