"""Treemaps as SVG and PNG."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from hatch_mlbundle.errors import MissingLibraryError
from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, Saved, Totals
from hatch_mlbundle.reports.palette import DARK, GREY, HUES, LIGHT, Colour
from hatch_mlbundle.reports.pictures import png_picture, svg_picture
from hatch_mlbundle.reports.treemap import HEIGHT, WIDTH, Scene, scene, text_width

SVG = "{http://www.w3.org/2000/svg}"
CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = ["<script>alert(1)</script>", "a&b\"c'", "\u202egnp.exe", "new\nline", "nul\x00\x1b", "lone\udcff", "]]>", "n" * 300]


def manifest(files: dict[str, int], name: str = "app") -> Manifest:
    rows = tuple(
        FileRow(path=path, kind="data", owner=path.partition("/")[0], before=state, after=state)
        for path, size in files.items()
        for state in [FileState(size=size, compressed=None, sha256=None)]
    )
    totals = Totals(size=sum(files.values()), installed=sum(files.values()), structure=0, files=len(rows), sha256=None)
    return Manifest(
        generator="test",
        artifact=ArtifactRow(name=name, kind="folder", before=totals, after=totals),
        tools=(),
        configuration={},
        steps=(),
        remainder=Saved(installed=0, compressed=None),
        files=rows,
        companions=(),
        findings=(),
    )


SAMPLE = {
    "torch/lib/libtorch_cpu.so": 434_000_000,
    "torch/lib/libtorch_python.so": 30_000_000,
    **{f"torch/test/case_{number}": 500_000 for number in range(120)},
    "numpy/core/umath.so": 14_000_000,
    "numpy.libs/blas.so": 25_000_000,
    **{f"tiny{number}/__init__.py": 1_000 for number in range(500)},
    "empty/nothing": 0,
}


def depths(drawn: Scene) -> dict[int, list[str]]:
    return {depth: [box.told for box in drawn.boxes if box.depth == depth] for depth in range(4)}


def test_owners_folders_and_large_files_are_there_and_the_small_ones_are_one() -> None:
    told = depths(scene(manifest(SAMPLE)))
    assert told[0][0] == "torch: 524 MB, 93.0 %"
    assert "[500 others]: 500 kB, 0.1 %" in told[0]
    assert told[1][:2] == ["torch/lib: 464 MB, 82.3 %", "torch/test: 60.0 MB, 10.6 %"]
    assert "torch/lib/libtorch_cpu.so: 434 MB, 77.0 %" in told[2]


def test_the_boxes_of_the_owners_are_as_large_as_their_share() -> None:
    drawn = scene(manifest({"a/x": 3_000, "b/x": 2_000, "c/x": 1_000}))
    areas = [box.place.inside(-1.0) for box in drawn.boxes if box.depth == 0]
    assert [round(6 * each.width * each.height / (WIDTH * (HEIGHT - 44)), 6) for each in areas] == [3, 2, 1]


def test_boxes_lie_inside_their_picture_and_text_inside_its_box() -> None:
    drawn = scene(manifest({**SAMPLE, **{f"{name}/{name}": 9_000_000 for name in HOSTILE}}))
    for box in drawn.boxes:
        assert box.place.x >= 0
        assert box.place.x + box.place.width <= WIDTH
        assert box.place.y + box.place.height <= HEIGHT
        if box.label:
            assert box.label.x + text_width(box.label.text, box.label.size) <= box.place.x + box.place.width
            assert box.place.y < box.label.y < box.place.y + box.place.height


def test_the_same_manifest_is_the_same_picture_whatever_the_hash_seed() -> None:
    code = "; ".join(
        [
            "import hashlib, sys",
            "from hatch_mlbundle.manifest import Manifest",
            "from hatch_mlbundle.reports.pictures import png_picture, svg_picture",
            "read = Manifest.from_json(sys.stdin.read())",
            "print(hashlib.sha256(svg_picture(read).encode() + png_picture(read)).hexdigest())",
        ]
    )
    text = manifest(SAMPLE).to_json()
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=text,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            text=True,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "7")
    }
    assert len(results) == 1


def test_an_svg_stands_alone_and_says_what_it_is() -> None:
    text = svg_picture(manifest(SAMPLE, name="my app"))
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title description"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "my app"
    assert description is not None
    assert description.text == "Treemap by package, folder and file: 564 MB installed, 625 files"
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"href|url\(|@import|<script|on\w+=", text)
    assert len(text) < 200_000


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    text = svg_picture(manifest({f"{name}/{name}": 5, "b/c": 5}, name=name))
    root = ET.fromstring(text.encode("utf-8"))
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {"svg", "title", "desc", "style", "rect", "text"}
    assert "\u202e" not in text
    assert png_picture(manifest({f"{name}/{name}": 5}, name=name)).startswith(b"\x89PNG")


@pytest.mark.parametrize("files", [{}, {"a/empty": 0}, {"a/b": 1}])
def test_an_empty_artifact_has_a_picture(files: dict[str, int]) -> None:
    assert len(scene(manifest(files)).boxes) == 2 * len([size for size in files.values() if size])
    ET.fromstring(svg_picture(manifest(files)))
    assert png_picture(manifest(files)).startswith(b"\x89PNG")


def test_20_000_files_are_a_small_picture() -> None:
    many = manifest({f"owner{number % 300}/d{number % 7}/f{number}": number + 1 for number in range(20_000)})
    assert len(svg_picture(many)) < 1_000_000
    assert len(png_picture(many)) < 1_000_000


def test_a_png_has_the_boxes_of_the_svg_in_light_colours() -> None:
    image_module = pytest.importorskip("PIL.Image")
    source = manifest(SAMPLE)
    image = image_module.open(io.BytesIO(png_picture(source)))
    assert image.size == (WIDTH, HEIGHT)
    assert image.getpixel((0, 0)) == LIGHT.background
    box = max((box for box in scene(source).boxes if box.depth == 2), key=lambda box: box.place.width * box.place.height)
    middle = (round(box.place.x + box.place.width / 2), round(box.place.y + box.place.height / 2))
    assert image.getpixel(middle) == LIGHT.fill(box.hue, 2)


def test_without_pillow_the_line_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingLibraryError, match=re.escape("pip install 'hatch-mlbundle[pictures]'")):
        png_picture(manifest(SAMPLE))


def luminance(colour: Colour) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_colour(theme: object) -> None:
    assert isinstance(theme, type(LIGHT))
    for hue in (*HUES, GREY):
        for depth in range(len(theme.shares)):
            light, dark = sorted([luminance(theme.text), luminance(theme.fill(hue, depth))], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("font", ["DejaVuSans.ttf", None])
def test_no_text_is_wider_than_reckoned(font: str | None) -> None:
    fonts = pytest.importorskip("PIL.ImageFont")
    try:
        drawn = fonts.truetype(font, 15) if font else fonts.load_default(size=15)
    except OSError:
        pytest.skip(f"there is no {font}")
    printable = [chr(number) for number in range(32, 127)]
    assert [each for each in printable if drawn.getlength(each) > text_width(each, 15)] == []
    assert drawn.getlength("libtorch_cpu.so 434 MB") > 0.75 * text_width("libtorch_cpu.so 434 MB", 15)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium")
def test_a_browser_draws_every_text_inside_its_box(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    picture = tmp_path / "picture.svg"
    picture.write_text(svg_picture(manifest(SAMPLE)), encoding="utf-8")
    measure = """() => [...document.querySelectorAll('rect + text')].map(text => {
        const inner = text.getBBox(), outer = text.previousElementSibling.getBBox();
        return [inner.x - outer.x, outer.x + outer.width - inner.x - inner.width, text.textContent] })"""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        page.goto(picture.as_uri())
        measured = page.evaluate(measure)
        ground = page.evaluate("() => getComputedStyle(document.querySelector('.ground')).fill")
        browser.close()
    assert len(measured) > 5
    assert [each for each in measured if len(each[2]) > 1 and min(each[:2]) < 0] == []
    assert ground == "rgb({}, {}, {})".format(*DARK.background)
