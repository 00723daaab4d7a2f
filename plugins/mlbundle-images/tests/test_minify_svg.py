"""Drawings get smaller, their elements stay, and a browser shows the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

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


@pytest.mark.parametrize(
    "inside",
    [
        '<style>g{stroke:red}</style><g><path style="stroke:none" d="M 0 0 L 1.0 1.0"/></g>',
        '<g><path id="a" fill="blue" d="M 0 0 L 1.0 1.0"/><path fill="blue" d="M 0 0 L 2.0 2.0"/></g><use href="#a"/>',
        '<path id="a" stroke="none" fill="black" d="M 0 0 L 1.0 1.0"/><use href="#a" stroke="red"/>',
        '<rect x="0" opacity="1" rx="0.0"/>',
    ],
)
def test_attributes_stay_where_they_are(inside: str) -> None:
    drawing = DRAWING.replace(b"<title>", f"{inside}<title>".encode())
    told = [[dict(each.items()) for each in ET.fromstring(text).iter()] for text in (drawing, minified(drawing))]
    numbers = ("d", "width", "height", "viewBox", "{http://www.inkscape.org/namespaces/inkscape}label")
    one, other = ([{key: value for key, value in each.items() if key not in numbers} for each in text] for text in told)
    assert one == other


def test_points_stay_that_are_seen_by_their_ends_alone() -> None:
    made = minified(DRAWING.replace(b"<title>", b'<g stroke-linecap="round"><path d="M 1.0 2.0 L 1.0 2.0"/><path d="M0 0"/></g><title>'))
    assert b'<g stroke-linecap="round"><path d="m1 2v0"/><path d="m0 0"/></g>' in made


def test_a_licence_stays() -> None:
    assert b"Copyright me" in minified(DRAWING.replace(b"drawn by hand", b"Copyright me"))


@pytest.mark.parametrize(
    ("drawing", "reason"),
    [
        (DRAWING.replace(b"<title>", b"<script>x</script><title>"), "more than a drawing"),
        (DRAWING.replace(b"<title>", b"<animate/><title>"), "more than a drawing"),
        (DRAWING.replace(b"<svg ", b'<!DOCTYPE svg [<!ENTITY a "aa">]><svg '), "more than a drawing"),
        (DRAWING.replace(b"<g id", b'<g onclick="x()" id'), "more than a drawing"),
        (DRAWING.replace(b"<title>", b'<text style="white-space: pre">a  b</text><title>'), "more than a drawing"),
        (DRAWING.replace(b"<title>", b"<text>one\n<tspan>two</tspan>\n<tspan>three</tspan></text><title>"), "change its elements"),
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
