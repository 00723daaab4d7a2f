"""The treemap as a still picture."""

from __future__ import annotations

from hatch_mlbundle.manifest import Manifest


def svg_picture(manifest: Manifest) -> str:
    """Return the treemap, owners and the folders in them, as SVG."""
    raise NotImplementedError


def png_picture(manifest: Manifest) -> bytes:
    """Return the same as PNG; raises MissingLibraryError without Pillow."""
    raise NotImplementedError
