"""What every report calls the bytes of an artifact that belong to no file."""

from __future__ import annotations

from collections.abc import Mapping

_STRUCTURE = {"wheel": "zip headers", "frozen": "archive headers", "image": "hidden files, headers of layers"}

REMAINDERS: Mapping[str, str] = {"wheel": "dist-info, zip headers", "frozen": "archive headers"}
"""What is changed by writing an artifact of this kind, whatever the steps did."""


def structure_label(*kinds: str) -> str:
    """Return what the bytes of no file are in artifacts of these kinds, in a word for all of them where they differ."""
    labels = {_STRUCTURE.get(kind, "headers") for kind in kinds}
    return labels.pop() if len(labels) == 1 else "of no file"
