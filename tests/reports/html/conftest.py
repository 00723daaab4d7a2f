"""A real browser, and pages of reports in it: any error on the console, of a script, or request for anything fails the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.html.page import html_report
from tests.reports.html.reportsmith import BUDGET, baseline_manifest, full_manifest

VIEW = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "reduced_motion": "reduce"}


@pytest.fixture(scope="session")
def common(chromium: Any) -> Any:
    """Return the context that most pages are opened in: one for each takes twice the time. What a page stores is shared."""
    return chromium.new_context(**VIEW)


def opening(chromium: Any, common: Any) -> Iterator[Callable[..., Any]]:
    """Yield what opens a file as a page, and fail at the end where anything went wrong in one.

    `frames` are files beside it that it shows, `script` is run before its own. Pages with options of their own have a context of their own.
    """
    problems: list[str] = []
    opened = []

    def open_file(path: Path, *, width: int = 1280, height: int = 900, frames: Sequence[str] = (), script: str = "", **options: Any) -> Any:
        view = {**VIEW, "viewport": {"width": width, "height": height}, "color_scheme": options.pop("scheme", "light"), **options}
        page = common.new_page() if view == VIEW else chromium.new_page(**view)
        opened.append(page)
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
    for page in opened:
        page.close()
    assert problems == []


@pytest.fixture
def open_page(chromium: Any, common: Any) -> Iterator[Callable[..., Any]]:
    """Return what opens a file as a page; what goes wrong in it fails the test at its end."""
    yield from opening(chromium, common)


@pytest.fixture(scope="module")
def full_page(chromium: Any, common: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a page with something in every part, for tests that only read it."""
    path = tmp_path_factory.mktemp("full") / "report.html"
    path.write_bytes(html_report(full_manifest(), baseline_manifest(), BUDGET).encode())
    for open_file in opening(chromium, common):
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
