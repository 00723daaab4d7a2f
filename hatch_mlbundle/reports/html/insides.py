"""What files are made of, as the page shows it: ELF sections, GPU code, tensors, of the whole artifact and of its largest files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from hatch_mlbundle.manifest import ContentsRow, Manifest, View

from .columns import Table

_MOST_FILES = 50
"""Files that are listed in each view; what is left is one row."""
_MOST_PARTS = 16
"""Parts that are listed of each file, and of all together."""


def insides(manifest: Manifest, table: Table) -> list[dict[str, Any]]:
    """Return each view that there is with its parts, and its files, the largest first."""
    views = {view: [row for row in manifest.contents if row.view == view] for view in get_args(View)}
    return [_view(view, rows, table) for view, rows in views.items() if rows]


def _view(view: str, rows: Iterable[ContentsRow], table: Table) -> dict[str, Any]:
    ordered = sorted(rows, key=lambda row: (-sum(row.parts.values()), row.path))
    rest = ordered[_MOST_FILES:]
    return {
        "view": view,
        "parts": _parts(_total(ordered)),
        "files": [{"file": table.place(row.path), "parts": _parts(row.parts)} for row in ordered[:_MOST_FILES]],
        "others": {"count": len(rest), "size": _total(rest).total()},
    }


def _total(rows: Sequence[ContentsRow]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row.parts)
    return total


def _parts(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the largest parts, and what is left as one."""
    ordered = sorted(parts.items(), key=lambda part: (-part[1], part[0]))
    rest = ordered[_MOST_PARTS:]
    return [*ordered[:_MOST_PARTS], *([(f"[{len(rest):,} others]", sum(size for _, size in rest))] if rest else [])]
