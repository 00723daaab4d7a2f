"""Colours of the pictures, for light and dark surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

HUES: tuple[Colour, ...] = (
    (0x1F, 0x77, 0xC4),
    (0xE0, 0x7B, 0x1A),
    (0x2C, 0x9C, 0x5B),
    (0xC2, 0x4B, 0x9B),
    (0x8A, 0x63, 0xC7),
    (0x0F, 0x9A, 0xA8),
    (0xC9, 0x9A, 0x0A),
    (0xD1, 0x4B, 0x4B),
)
GREY: Colour = (0x80, 0x88, 0x90)
"""Of what stands for many small things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """What surrounds the picture and is written in it, and how much of it is mixed into a hue: a share for each depth."""

    background: Colour
    text: Colour
    shares: tuple[float, ...]

    def fill(self, hue: Colour, depth: int) -> Colour:
        """Return a hue for boxes of a depth: the deeper, the stronger."""
        share = self.shares[min(depth, len(self.shares) - 1)]
        red, green, blue = (round(part * (1 - share) + ground * share) for part, ground in zip(hue, self.background, strict=True))
        return red, green, blue


LIGHT = Theme(background=(0xFF, 0xFF, 0xFF), text=(0x17, 0x1C, 0x22), shares=(0.82, 0.70, 0.58, 0.46))
DARK = Theme(background=(0x0D, 0x11, 0x17), text=(0xF0, 0xF4, 0xF8), shares=(0.80, 0.70, 0.60, 0.50))


def written(colour: Colour) -> str:
    """Return a colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
