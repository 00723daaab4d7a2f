"""The bytes of single files in layers: those that are stored as they are lie where they lie, others are unpacked once, to a disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hatch_mlbundle.model import Content

from .layouts import Layout
from .tree import Stored


def layer_contents(layout: Layout, wanted: Mapping[int, Stored], scratch: Path) -> Mapping[int, Content]:
    """Return, by `id` of each Stored, a content that gives its bytes; each layer is unpacked at most once, into `scratch`."""
    raise NotImplementedError
