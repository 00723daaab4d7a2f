"""Drawings get smaller, their elements stay, and a browser shows the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlbundle_images.minify_svg import MinifySvg
from mlbundle_images.svg import minified
from picturesmith import DRAWING

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.testing import run


def test_a_drawing() -> None:
    made = run(MinifySvg, {"pkg/a.svg": DRAWING}).files["pkg/a.svg"]
    assert len(made) < len(DRAWING)
    for stays in (b'id="layer"', b'class="thin"', b'style="fill:#336699"', b"<title>A drawing</title>", b"<g"):
        assert stays in made
    assert b"inkscape" not in made
    assert b"by hand" not in made


def test_a_licence_stays() -> None:
    assert b"Copyright me" in minified(DRAWING.replace(b"drawn by hand", b"Copyright me"))


@pytest.mark.parametrize(
    ("drawing", "reason"),
    [
        (DRAWING.replace(b"<title>", b"<script>x</script><title>"), "more than a drawing"),
        (DRAWING.replace(b"<title>", b"<animate/><title>"), "more than a drawing"),
        (DRAWING.replace(b"<svg ", b'<!DOCTYPE svg [<!ENTITY a "aa">]><svg '), "more than a drawing"),
        (DRAWING.replace(b"<g id", b'<g onclick="x()" id'), "more than a drawing"),
        (DRAWING.replace(b"UTF-8", b"ISO-8859-1"), "not in UTF-8"),
        (DRAWING.decode().encode("utf-16"), "not in UTF-8"),
        (DRAWING[:-10], "no XML"),
        (b"<svg" * 10, "no XML"),
    ],
)
def test_drawings_that_stay(drawing: bytes, reason: str) -> None:
    with pytest.raises(KeptError, match=reason):
        minified(drawing)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_browser_shows_the_same(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    shown = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, data in (("before", DRAWING), ("after", minified(DRAWING))):
            (tmp_path / f"{name}.svg").write_bytes(data)
            page = browser.new_page(viewport={"width": 800, "height": 200})
            page.goto((tmp_path / f"{name}.svg").as_uri())
            shown.append(page.screenshot())
        browser.close()
    assert shown[0] == shown[1]
