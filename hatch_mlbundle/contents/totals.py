"""What all files of an artifact are made of, taken together: for any report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import get_args

from hatch_mlbundle.contents.parts import by_size
from hatch_mlbundle.manifest import Manifest, View


def totals(manifest: Manifest) -> Mapping[View, Mapping[str, int]]:
    """Return the bytes of each part in all files that were inspected, by view; the largest first, of equal ones by name."""
    sums: dict[View, Counter[str]] = {view: Counter() for view in get_args(View)}
    for row in manifest.contents:
        sums[row.view].update(row.parts)
    return {view: dict(by_size(parts)) for view, parts in sums.items() if parts}
