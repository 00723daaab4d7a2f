"""Small pictures, and the chunks and segments they are made of."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

from hatch_mlbundle.model import Bundle
from hatch_mlbundle.testing import bundle_from


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> Image.Image:
    drawn = Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 50)
    return drawn.convert("RGB").quantize(16) if mode == "P" else drawn.convert(mode)


def png(mode: str = "RGB", **options: Any) -> bytes:
    """Return a PNG that was compressed badly."""
    made = io.BytesIO()
    picture(mode).save(made, "PNG", **{"compress_level": 1, **options})
    return made.getvalue()


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    made = io.BytesIO()
    picture(mode).save(made, "JPEG", **{"quality": 90, **options})
    return made.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    """Return a PNG with one chunk more, behind the first."""
    return data[:33] + chunk(kind, content) + data[33:]


def huge(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that says it is large."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pictures() -> Bundle:
    return bundle_from({"pkg/a.png": png(), "pkg/b.jpg": jpeg(), "pkg/c.svg": DRAWING})


DRAWING = b"""<?xml version="1.0" encoding="UTF-8"?>
<!-- drawn by hand -->
<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" viewBox="0 0 1000 100">
  <title>A drawing</title>
  <g id="layer" inkscape:label="Layer 1">
    <path id="line" class="thin" d="M 0.00000 10.00000 L 100.0000 50.50000 C 1.123456789 2.5 3.75 4 5 6" style="fill:#336699"/>
    <rect x="10.0" y="20.00" width="30" height="5"/>
    <text x="5" y="90">Some  text</text>
  </g>
</svg>
"""
