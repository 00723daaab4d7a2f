"""A real browser, and pages of reports in it: any error on the console, of a script, or request for anything fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.html.page import html_report
from tests.reports.html.reportsmith import BUDGET, baseline_manifest, full_manifest

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start the browser once for all tests."""
    driver = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opening(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Yield what opens a file as a page, and fail at the end where anything went wrong in one.

    `frames` are files beside it that it shows, `script` is run before its own.
    """
    problems: list[str] = []
    contexts = []

    def open_file(path: Path, *, width: int = 1280, height: int = 900, frames: Sequence[str] = (), script: str = "", **options: Any) -> Any:
        view = {"viewport": {"width": width, "height": height}, "color_scheme": options.pop("scheme", "light"), "reduced_motion": "reduce"}
        context = chromium.new_context(**{**view, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        expected = {place.as_uri() for place in (path, *(path.with_name(frame) for frame in frames))} | {"data:,", "about:srcdoc"}
        page.on("request", lambda request: None if request.url.partition("#")[0] in expected else problems.append(request.url))
        if script:
            page.add_init_script(script)
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Return what opens a file as a page; what goes wrong in it fails the test at its end."""
    yield from opening(chromium)


@pytest.fixture(scope="module")
def full_page(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a page with something in every part, for tests that only read it."""
    path = tmp_path_factory.mktemp("full") / "report.html"
    path.write_bytes(html_report(full_manifest(), baseline_manifest(), BUDGET).encode())
    for open_file in opening(chromium):
        page = open_file(path)
        page.wait_for_selector("html[data-ready]", state="attached")
        yield page


@pytest.fixture
def page_for(open_page: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return what makes a report and opens it, ready to be used: `page_for(manifest, baseline, budget, width=1280, scheme="light")`."""

    def page(manifest: Manifest, baseline: Manifest | None = None, budget: BudgetCheck | None = None, **view: Any) -> Any:
        path = tmp_path / "report.html"
        path.write_bytes(html_report(manifest, baseline, budget).encode())
        opened = open_page(path, **view)
        opened.wait_for_selector("html[data-ready]", state="attached")
        return opened

    return page
