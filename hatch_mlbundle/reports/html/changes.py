"""How the artifact differs from its baseline, as the page shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hatch_mlbundle.compare import Comparison, FileChange, GroupChange, Sizes

from .columns import Table

_MOST = 500
"""Changed files that are listed; what is left is one row."""


def changes(comparison: Comparison, table: Table) -> dict[str, Any]:
    """Return the changes by owner, kind, file and release, the largest first."""
    files = sorted(comparison.files, key=lambda change: -abs(change.growth))
    return {
        "hashed": comparison.hashed,
        "packs": comparison.compressed,
        "before": _sizes(comparison.before.sizes),
        "after": _sizes(comparison.after.sizes),
        "owners": _groups(comparison.owners),
        "kinds": _groups(comparison.kinds),
        "files": [_file(change, table) for change in files[:_MOST]],
        "others": {"count": len(files[_MOST:]), "growth": sum(change.growth for change in files[_MOST:])},
        "versions": [[each.distribution, each.before, each.after] for each in comparison.versions],
    }


def _groups(groups: Sequence[GroupChange]) -> list[dict[str, Any]]:
    return [{"name": group.name, "before": _sizes(group.before), "after": _sizes(group.after)} for group in groups]


def _sizes(sizes: Sizes) -> list[int | None]:
    return [sizes.installed, sizes.compressed, sizes.files]


def _file(change: FileChange, table: Table) -> dict[str, Any]:
    return {
        "file": table.place(change.path),
        "former": None if change.former is None else table.place(change.former),
        "status": change.status,
        "growth": change.growth,
        "before": change.before.size if change.before else None,
        "after": change.after.size if change.after else None,
    }
