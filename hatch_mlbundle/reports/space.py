"""What takes the space in an artifact after all steps, in tables for a terminal: by group, by file, and what is there more than once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from heapq import nsmallest
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


def by_group(title: str, manifest: Manifest, label: Callable[[FileRow], str], top: int) -> Table:
    """Return the sizes of the files grouped by their labels: the `top` largest groups, and all others in a row."""
    groups: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in manifest.files:
        if row.after:
            sums = groups[label(row)]
            sums[0] += row.after.size
            sums[1] += row.after.compressed or 0
            sums[2] += 1
    ordered = sorted((_Space(name, *sums) for name, sums in groups.items()), key=lambda group: (-group.installed, group.name))
    return _table(title, manifest, ordered[:top], _others(ordered[top:]), counted=True)


def largest_files(manifest: Manifest, top: int) -> Table:
    """Return the `top` largest files, and all others in a row."""
    files = [(row.path, row.after) for row in manifest.files if row.after]
    shown = [
        _Space(path, state.size, state.compressed or 0, 1)
        for path, state in nsmallest(top, files, key=lambda file: (-file[1].size, file[0]))
    ]
    installed = sum(state.size for _, state in files) - sum(file.installed for file in shown)
    compressed = sum(state.compressed or 0 for _, state in files) - sum(file.compressed for file in shown)
    left = len(files) - len(shown)
    return _table("largest files", manifest, shown, (_Space("", installed, compressed, left), left), counted=False)


def duplicates(manifest: Manifest, top: int) -> RenderableType:
    """Return what copies of files waste, as far as contents are known."""
    copies: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for row in manifest.files:
        if row.after and row.after.size:
            if row.after.sha256 is None:
                return Text("duplicates unknown: files were not hashed", style="dim")
            copies[row.after.size, row.after.sha256].append(row.path)
    wasted = [(size * (len(paths) - 1), paths) for (size, _), paths in copies.items() if len(paths) > 1]
    wasted.sort(key=lambda each: (-each[0], each[1]))
    if not wasted:
        return Text("no duplicates", style="dim")
    table = labelled(["wasted", "copies"], "duplicates")
    for size, paths in wasted[:top]:
        table.add_row(format_size(size), f"{len(paths):,}", plain(paths[0]))
    if rest := wasted[top:]:
        table.add_row(format_size(sum(size for size, _ in rest)), f"{sum(len(paths) for _, paths in rest):,}", others(len(rest)))
    return table


def _others(groups: Sequence[_Space]) -> tuple[_Space, int]:
    """Return what groups take together, and their number."""
    columns = list(zip(*groups, strict=True))[1:] if groups else [(), (), ()]
    return _Space("", *map(sum, columns)), len(groups)


def _table(title: str, manifest: Manifest, rows: Sequence[_Space], rest: tuple[_Space, int], *, counted: bool) -> Table:
    """Return a table whose rows add up to what the artifact takes, those with the number of their files where it is `counted`."""
    compresses, totals = manifest.compresses, manifest.artifact.after
    table = labelled(["installed", "", *(["compressed", ""] if compresses else []), *(["files"] if counted else [])], title)

    def add(row: _Space, label: Text) -> None:
        cells = [format_size(row.installed), format_percent(row.installed, totals.installed)]
        cells += [format_size(row.compressed), format_percent(row.compressed, totals.size)] if compresses else []
        table.add_row(*cells, *([f"{row.files:,}"] if counted else []), label)

    for row in rows:
        add(row, plain(row.name))
    if rest[1]:
        add(rest[0], others(rest[1]))
    if compresses and totals.structure:
        cells = ["", "", format_size(totals.structure), format_percent(totals.structure, totals.size), *([""] if counted else [])]
        table.add_row(*cells, structure(manifest.artifact.kind))
    table.add_row()
    return table
