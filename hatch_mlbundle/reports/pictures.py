"""The treemap as a still picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from xml.sax.saxutils import escape

from hatch_mlbundle.errors import MissingLibraryError
from hatch_mlbundle.manifest import Manifest

from .palette import DARK, GREY, HUES, LIGHT, Theme, written
from .treemap import HEIGHT, WIDTH, Box, Label, scene

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_DEPTHS = len(LIGHT.shares)
_CLASSES = {hue: number for number, hue in enumerate([*HUES, GREY])}


def svg_picture(manifest: Manifest) -> str:
    """Return the treemap, owners and the folders in them, as SVG that follows the reader's choice of light or dark."""
    drawn = scene(manifest)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(drawn.title)}</title>',
        f'<desc id="description">Treemap by package, folder and file: {escape(drawn.sizes)}</desc>',
        f"<style>\n{_style()}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        *map(_svg_text, drawn.head),
        *(line for box in drawn.boxes for line in _svg_box(box)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def png_picture(manifest: Manifest) -> bytes:
    """Return the same as PNG, in the light colours; raises MissingLibraryError without Pillow."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingLibraryError("a PNG needs Pillow: pip install 'hatch-mlbundle[pictures]'") from error
    drawn = scene(manifest)
    image = Image.new("RGB", (WIDTH, HEIGHT), LIGHT.background)
    canvas = ImageDraw.Draw(image)
    fonts = {size: ImageFont.load_default(size) for size in {label.size for label in drawn.labels}}

    def write(label: Label) -> None:
        canvas.text(
            (label.x, label.y),
            label.text,
            fill=LIGHT.text,
            font=fonts[label.size],
            anchor="rs" if label.ends else "ls",
        )

    for label in drawn.head:
        write(label)
    for box in drawn.boxes:
        place = box.place
        corners = [round(place.x), round(place.y), round(place.x + place.width) - 1, round(place.y + place.height) - 1]
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            canvas.rectangle(corners, fill=LIGHT.fill(box.hue, box.depth))
        if box.label:
            write(box.label)
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _style() -> str:
    dark = "".join(f"  {line}\n" for line in _theme(DARK))
    light = "".join(f"{line}\n" for line in _theme(LIGHT))
    return f"text {{ font-family: {_FONT}; }}\n{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _theme(theme: Theme) -> Iterator[str]:
    yield f".ground {{ fill: {written(theme.background)}; }}"
    yield f"text {{ fill: {written(theme.text)}; }}"
    for hue, number in _CLASSES.items():
        yield " ".join(f".h{number}d{depth} {{ fill: {written(theme.fill(hue, depth))}; }}" for depth in range(_DEPTHS))


def _svg_box(box: Box) -> Iterator[str]:
    place = box.place
    size = f'x="{_number(place.x)}" y="{_number(place.y)}" width="{_number(place.width)}" height="{_number(place.height)}"'
    yield f'<rect class="h{_CLASSES[box.hue]}d{box.depth}" {size}><title>{escape(box.told)}</title></rect>'
    if box.label:
        yield _svg_text(box.label)


def _svg_text(label: Label) -> str:
    end = ' text-anchor="end"' if label.ends else ""
    return f'<text x="{_number(label.x)}" y="{_number(label.y)}" font-size="{label.size}"{end}>{escape(label.text)}</text>'


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
