"""Files that are there more than once, by what all but one of them take."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from .columns import Table

_MOST = 100
"""Groups of copies that are listed; what is left is one row."""
_PATHS = 200
"""Copies that are listed of one file."""


def duplicates(table: Table) -> dict[str, Any]:
    """Return groups of files with the same bytes after all steps, those that waste most first."""
    copies: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for row, (ours, _) in enumerate(table.rows.values()):
        if ours and ours.after and ours.after.size and ours.after.sha256:
            copies[ours.after.size, ours.after.sha256].append(row)
    groups = sorted((-size * (len(rows) - 1), rows) for (size, _), rows in copies.items() if len(rows) > 1)
    return {
        "wasted": -sum(wasted for wasted, _ in groups),
        "groups": [{"wasted": -wasted, "copies": len(rows), "rows": rows[:_PATHS]} for wasted, rows in groups[:_MOST]],
        "others": {
            "count": len(groups[_MOST:]),
            "copies": sum(len(rows) for _, rows in groups[_MOST:]),
            "wasted": -sum(wasted for wasted, _ in groups[_MOST:]),
        },
    }
