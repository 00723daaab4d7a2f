"""What files are made of, as the page shows it: ELF sections, GPU code, tensors, of the whole artifact and of its largest files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hatch_mlbundle.contents.parts import by_size
from hatch_mlbundle.contents.totals import totals
from hatch_mlbundle.manifest import ContentsRow, Manifest

from .columns import Table

_MOST_FILES = 50
"""Files that are listed in each view; what is left is one row."""
_MOST_PARTS = 16
"""Parts that are listed of each file, and of all together."""


def insides(manifest: Manifest, table: Table) -> list[dict[str, Any]]:
    """Return each view that there is with its parts, and its files, the largest first."""
    return [
        {"view": view, "parts": _parts(parts), **_files([row for row in manifest.contents if row.view == view], table)}
        for view, parts in totals(manifest).items()
    ]


def _files(rows: Sequence[ContentsRow], table: Table) -> dict[str, Any]:
    ordered = sorted(rows, key=lambda row: (-_size(row), row.path))
    shown, rest = ordered[:_MOST_FILES], ordered[_MOST_FILES:]
    return {
        "files": [{"file": table.place(row.path), "parts": _parts(row.parts)} for row in shown],
        "others": {"count": len(rest), "size": sum(map(_size, rest))},
    }


def _size(row: ContentsRow) -> int:
    return sum(row.parts.values())


def _parts(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the largest parts, and what is left as one."""
    ordered = by_size(parts)
    rest = ordered[_MOST_PARTS:]
    return [*ordered[:_MOST_PARTS], *([(f"[{len(rest):,} others]", sum(size for _, size in rest))] if rest else [])]
