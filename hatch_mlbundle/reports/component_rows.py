"""The components of a container image by their kinds, the largest one by one, for tables of every form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hatch_mlbundle.manifest import ComponentKind, ComponentRow, Manifest

KINDS: Mapping[ComponentKind, str] = {
    "system": "system packages",
    "python": "Python",
    "package": "Python packages",
    "cuda": "CUDA libraries",
    "model": "models",
    "cache": "caches",
    "application": "application",
}
"""What a reader calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Bytes that a container sees, those as stored, and the number of files."""

    installed: int
    compressed: int
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRows:
    """All components of a kind together, those shown one by one, the largest first, and the others of it together.

    `detail` is what there is to say of every one of several components, "" where that differs.
    """

    kind: ComponentKind
    label: str
    detail: str
    count: int
    whole: Amount
    shown: tuple[ComponentRow, ...]
    others: int
    rest: Amount


def component_kinds(manifest: Manifest, top: int) -> list[KindRows]:
    """Return the kinds, the largest first; of all their components the `top` largest are shown. Nothing where there are none."""
    ordered = sorted(manifest.components, key=_size)
    shown = ordered[:top]
    kinds: defaultdict[ComponentKind, list[ComponentRow]] = defaultdict(list)
    for row in ordered:
        kinds[row.kind].append(row)
    groups = [_kind(kind, rows, [row for row in shown if row.kind == kind]) for kind, rows in kinds.items()]
    return sorted(groups, key=lambda group: (-group.whole.installed, group.label))


def amount(rows: Iterable[ComponentRow]) -> Amount:
    """Return what components take together."""
    installed = compressed = files = 0
    for row in rows:
        installed, compressed, files = installed + row.installed, compressed + row.compressed, files + row.files
    return Amount(installed=installed, compressed=compressed, files=files)


def title(row: ComponentRow) -> str:
    """Return a component's name, with its version where that is known."""
    return f"{row.name} {row.version}" if row.version else row.name


def _kind(kind: ComponentKind, rows: Sequence[ComponentRow], shown: Sequence[ComponentRow]) -> KindRows:
    return KindRows(
        kind=kind,
        label=KINDS[kind],
        detail=rows[0].detail if len(rows) > 1 and len({row.detail for row in rows}) == 1 else "",
        count=len(rows),
        whole=amount(rows),
        shown=tuple(shown),
        others=len(rows) - len(shown),
        rest=amount(rows[len(shown) :]),
    )


def _size(row: ComponentRow) -> tuple[int, int, str, str]:
    return -row.installed, -row.compressed, row.name, row.version
