"""A container image now, with each of the options, and with all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hatch_mlbundle.manifest import AdviceRow, Manifest, Saved
from hatch_mlbundle.units import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSizes:
    """Bytes of all layers unpacked, with what they hide of each other, and of the image as it is stored."""

    unpacked: int
    stored: int

    def less(self, saved: Iterable[Saved]) -> ImageSizes:
        """Return the sizes without what is saved."""
        unpacked, stored = self.unpacked, self.stored
        for each in saved:
            unpacked, stored = unpacked - each.installed, stored - (each.compressed or 0)
        return ImageSizes(unpacked=unpacked, stored=stored)


def sizes_now(manifest: Manifest) -> ImageSizes:
    """Return what a host stores, unpacked, and downloads: files that layers hide are there as well."""
    hidden = sum(layer.hidden_installed for layer in manifest.layers)
    return ImageSizes(unpacked=manifest.artifact.after.installed + hidden, stored=manifest.artifact.after.size)


def sizes_with_all(manifest: Manifest) -> ImageSizes:
    """Return what is left with all options: bytes that several of them save count once."""
    return sizes_now(manifest).less(row.adds for row in manifest.advice)


def told(rows: Sequence[AdviceRow], position: int) -> str:
    """Return what an option saves in a sentence, and what of it those before it do not."""
    row = rows[position]
    if not row.saved.installed and not row.saved.compressed:
        return "saves nothing at once"
    sentence = f"saves {format_size(row.saved.installed)} unpacked, {format_size(row.saved.compressed or 0)} compressed"
    if row.adds == row.saved:
        return sentence
    before = "option 1" if position == 1 else f"options 1 to {position}"
    return f"{sentence}; {format_size(row.adds.installed)}, {format_size(row.adds.compressed or 0)} beside {before}"
