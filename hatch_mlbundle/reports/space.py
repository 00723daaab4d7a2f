"""What takes the space in an artifact after all steps, in tables for a terminal: by group, by file, and what is there more than once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import FileRow, Manifest
from hatch_mlbundle.units import format_percent, format_size

from .tables import labelled, others, plain, structure


class _Space(NamedTuple):
    name: str
    installed: int
    compressed: int
    files: int


def packs(manifest: Manifest) -> bool:
    """Say whether a manifest has compressed sizes."""
    return manifest.remainder.compressed is not None


def by_group(title: str, manifest: Manifest, label: Callable[[FileRow], str], top: int) -> Table:
    """Return the sizes of the files grouped by their labels: the `top` largest groups, and all others in a row."""
    groups: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in manifest.files:
        if row.after:
            sums = groups[label(row)]
            sums[0] += row.after.size
            sums[1] += row.after.compressed or 0
            sums[2] += 1
    return _table(title, manifest, [_Space(name, *sums) for name, sums in groups.items()], top, counted=True)


def largest_files(manifest: Manifest, top: int) -> Table:
    """Return the `top` largest files, and all others in a row."""
    files = [_Space(row.path, row.after.size, row.after.compressed or 0, 1) for row in manifest.files if row.after]
    return _table("largest files", manifest, files, top, counted=False)


def duplicates(manifest: Manifest, top: int) -> RenderableType:
    """Return what copies of files waste, as far as contents are known."""
    copies: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for row in manifest.files:
        if row.after and row.after.size:
            if row.after.sha256 is None:
                return Text("duplicates unknown: files were not hashed", style="dim")
            copies[row.after.size, row.after.sha256].append(row.path)
    wasted = sorted(((size * (len(paths) - 1), paths) for (size, _), paths in copies.items() if len(paths) > 1), reverse=True)
    if not wasted:
        return Text("no duplicates", style="dim")
    table = labelled(["wasted", "copies"], "duplicates")
    for size, paths in wasted[:top]:
        table.add_row(format_size(size), f"{len(paths):,}", plain(paths[0]))
    if rest := wasted[top:]:
        table.add_row(format_size(sum(size for size, _ in rest)), f"{sum(len(paths) for _, paths in rest):,}", others(len(rest)))
    return table


def _table(title: str, manifest: Manifest, rows: Sequence[_Space], top: int, *, counted: bool) -> Table:
    """Return a table whose rows add up to what the artifact takes, those with the number of their files where it is `counted`."""
    compresses, totals = packs(manifest), manifest.artifact.after
    table = labelled(["installed", "", *(["compressed", ""] if compresses else []), *(["files"] if counted else [])], title)

    def add(row: _Space, label: Text) -> None:
        cells = [format_size(row.installed), format_percent(row.installed, totals.installed)]
        cells += [format_size(row.compressed), format_percent(row.compressed, totals.size)] if compresses else []
        table.add_row(*cells, *([f"{row.files:,}"] if counted else []), label)

    ordered = sorted(rows, key=lambda row: (-row.installed, row.name))
    for row in ordered[:top]:
        add(row, plain(row.name))
    if rest := ordered[top:]:
        add(_sum(rest), others(len(rest)))
    if compresses and totals.structure:
        cells = ["", "", format_size(totals.structure), format_percent(totals.structure, totals.size), *([""] if counted else [])]
        table.add_row(*cells, structure(manifest.artifact.kind))
    table.add_row()
    return table


def _sum(rows: Iterable[_Space]) -> _Space:
    installed, compressed, files = (sum(column) for column in list(zip(*rows, strict=True))[1:])
    return _Space("", installed, compressed, files)
