"""Two artifacts side by side, for a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.compare import Comparison, FileChange, GroupChange, Side, Sizes, Status
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_growth, format_growth_percent, format_size

from .tables import labelled, others, plain, structure

SIGNS: Mapping[Status, str] = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
"""How a file's status is marked."""


def comparison_report(comparison: Comparison, *, top: int) -> RenderableType:
    """Return the difference, then the `top` largest ones by package, kind and file, and the releases that changed."""
    parts: list[RenderableType] = [_verdict(comparison), _side("from", comparison.before), _side("to", comparison.after)]
    parts += [Text(note, style="dim") for note in _notes(comparison)]
    if comparison.same:
        return Group(*parts)
    parts += [Text(), _versions(comparison, top)] if comparison.versions else []
    parts += [Text(), _groups("package", comparison, comparison.owners, top)]
    parts += [Text(), _groups("kind", comparison, comparison.kinds, top)]
    if comparison.files or comparison.unchanged.compressed_growth:
        parts += [Text(), _files(comparison, top)]
    return Group(*parts)


def _verdict(comparison: Comparison) -> Text:
    if comparison.same:
        return Text("no difference", style="bold green")
    before = comparison.before.sizes
    parts = [_growth(comparison.growth, f" installed ({format_growth_percent(comparison.growth, before.installed)})", bold=True)]
    if comparison.compressed_growth is not None:
        percent = format_growth_percent(comparison.compressed_growth, before.compressed or 0)
        parts.append(_growth(comparison.compressed_growth, f" compressed ({percent})", bold=True))
    return Text(", ").join(parts)


def _growth(size: int | None, told: str = "", *, bold: bool = False) -> Text:
    """Return a growth with its sign; colours only repeat what that says."""
    if not size and not told:
        return Text()
    size = size or 0
    colour = "red" if size > 0 else "green" if size < 0 else ""
    return Text(f"{format_growth(size)}{told}", style=f"{'bold ' if bold else ''}{colour}".strip())


def _side(label: str, side: Side) -> Text:
    sizes = side.sizes
    compressed = "" if sizes.compressed is None else f", {format_size(sizes.compressed)} compressed"
    told = f"{printable(side.kind)}, {sizes.files:,} files, {format_size(sizes.installed)} installed{compressed}"
    return Text.assemble((f"{label:<5}{printable(side.name)}", "cyan"), f"\n     {told}", no_wrap=True, overflow="ignore")


def _notes(comparison: Comparison) -> Iterable[str]:
    if not comparison.hashed:
        yield "no hashes: a file of the same path and size counts as unchanged"
    counts = Counter(change.status for change in comparison.files)
    if counts:
        told = [f"{counts[status]:,} {status}" for status in SIGNS if counts[status]]
        yield f"files: {', '.join(told)}, {comparison.unchanged.after.files:,} unchanged"


def _versions(comparison: Comparison, top: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("release", overflow="fold")
    table.add_column("from", overflow="fold")
    table.add_column("to", overflow="fold")
    for change in comparison.versions[:top]:
        before = plain(change.before) if change.before else Text("new", style="dim")
        after = plain(change.after) if change.after else Text("gone", style="dim")
        table.add_row(plain(change.distribution), before, after)
    if len(comparison.versions) > top:
        table.add_row(others(len(comparison.versions) - top))
    return table


def _groups(title: str, comparison: Comparison, groups: Sequence[GroupChange], top: int) -> Table:
    """Return what the largest differences are, with a row for all others and one for the bytes that belong to no file."""
    packs = comparison.compressed
    table = labelled(["change", "", "to", *(["compressed", ""] if packs else [])], title)
    changed, rest = [group for group in groups if group.changed], [group for group in groups if not group.changed]
    for group in changed[:top]:
        table.add_row(*_cells(group, packs=packs), plain(group.name))
    if len(changed) > top or rest:
        rest = [*changed[top:], *rest]
        label = others(len(rest)) if len(changed) > top else Text(f"[{len(rest):,} unchanged]", style="dim")
        table.add_row(*_cells(_sum(rest, packs=packs), packs=packs), label)
    if comparison.structure_growth:
        table.add_row(*_structure(comparison), structure(comparison.before.kind, comparison.after.kind))
    table.add_section()
    whole = GroupChange(name="total", before=comparison.before.sizes, after=comparison.after.sizes)
    table.add_row(*_cells(whole, packs=packs), Text("total", style="bold"))
    return table


def _cells(group: GroupChange, *, packs: bool) -> list[Text]:
    cells = [
        _growth(group.growth),
        Text(_percent(group.growth, group.before.installed, group.after)),
        Text(format_size(group.after.installed)),
    ]
    if packs:
        growth = group.compressed_growth or 0
        cells += [_growth(growth), Text(_percent(growth, group.before.compressed or 0, group.after))]
    return cells


def _percent(growth: int, before: int, after: Sizes) -> str:
    return "" if not growth else "gone" if not after.files else format_growth_percent(growth, before)


def _structure(comparison: Comparison) -> list[Text]:
    growth = comparison.structure_growth or 0
    percent = format_growth_percent(growth, comparison.before.structure)
    return [Text(), Text(), Text(), _growth(growth), Text(percent)]


def _sum(groups: Sequence[GroupChange], *, packs: bool) -> GroupChange:
    before, after = (
        Sizes(
            installed=sum(side.installed for side in sides),
            compressed=sum(side.compressed or 0 for side in sides) if packs else None,
            files=sum(side.files for side in sides),
        )
        for sides in ([group.before for group in groups], [group.after for group in groups])
    )
    return GroupChange(name="", before=before, after=after)


def _files(comparison: Comparison, top: int) -> Table:
    """Return the files with the largest differences; those that only moved are one row."""
    packs = comparison.compressed
    table = labelled(["change", *(["compressed"] if packs else []), ""], "file: + added, - removed, ~ changed, > moved")
    moved = [change for change in comparison.files if change.status == "moved" and not change.growth]
    rest = [change for change in comparison.files if change.status != "moved" or change.growth]
    for change in rest[:top]:
        table.add_row(*_file_cells(change.growth, change.compressed_growth, packs=packs), SIGNS[change.status], _file(change))
    if len(rest) > top:
        table.add_row(*_file_sums(rest[top:], packs=packs), "", others(len(rest) - top))
    if moved:
        table.add_row(*_file_sums(moved, packs=packs), SIGNS["moved"], Text(f"[{len(moved):,} of the same size]", style="dim"))
    if packs and (growth := comparison.unchanged.compressed_growth):
        label = Text(f"[{comparison.unchanged.after.files:,} unchanged, but compressed otherwise]", style="dim")
        table.add_row(*_file_cells(0, growth, packs=packs), "", label)
    if comparison.structure_growth:
        table.add_row(
            *_file_cells(0, comparison.structure_growth, packs=packs), "", structure(comparison.before.kind, comparison.after.kind)
        )
    table.add_section()
    table.add_row(*_file_cells(comparison.growth, comparison.compressed_growth, packs=packs), "", Text("total", style="bold"))
    return table


def _file_cells(growth: int, compressed: int | None, *, packs: bool) -> list[Text]:
    return [_growth(growth), *([_growth(compressed)] if packs else [])]


def _file_sums(changes: Sequence[FileChange], *, packs: bool) -> list[Text]:
    growth, compressed = sum(change.growth for change in changes), sum(change.compressed_growth or 0 for change in changes)
    return _file_cells(growth, compressed, packs=packs)


def _file(change: FileChange) -> Text:
    text = plain(change.path)
    return text.append("\nfrom ", style="dim").append_text(plain(change.former)) if change.former is not None else text
