"""The layers of a container image, as the page gets them."""

from __future__ import annotations

from typing import Any

from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.reports.layer_rows import instruction

_LONGEST = 200
"""Characters of what made a layer that the page has."""


def layers(manifest: Manifest) -> list[dict[str, Any]]:
    """Return every layer, the lowest first, with its bytes that are seen, hidden, and as stored."""
    return [
        {
            "number": number,
            "installed": layer.installed,
            "hidden": layer.hidden_installed,
            "stored": layer.size,
            "madeBy": instruction(layer.created_by, _LONGEST),
        }
        for number, layer in enumerate(manifest.layers, start=1)
    ]
