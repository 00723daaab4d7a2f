"""How two artifacts differ, as parts of a Markdown report."""

from __future__ import annotations

from collections.abc import Sequence

from hatch_mlbundle.compare import Comparison, FileChange, GroupChange
from hatch_mlbundle.units import format_growth, format_growth_percent, format_size

from .markdown_parts import code, folded, table
from .structure import structure_label


def delta(comparison: Comparison) -> str:
    """Return the difference as one line: what a notification shows of the report."""
    before = comparison.before.sizes
    line = f"**{_change(comparison.growth, before.installed, ' installed')}**"
    if comparison.compressed_growth is not None:
        line += f", compressed {_change(comparison.compressed_growth, before.compressed or 0)}"
    return f"{line}: {code(comparison.after.name)}"


def differences(comparison: Comparison, rows: int) -> list[str]:
    """Return the sizes, a table by package, the releases that changed, and, folded, kinds and files."""
    changed = f"Files: {len(comparison.files):,} changed"
    return [
        _sides(comparison),
        _groups("package", comparison, comparison.owners, rows),
        _releases(comparison, rows),
        folded("By kind", _groups("kind", comparison, comparison.kinds, rows)),
        folded(changed, _files(comparison, rows)),
    ]


def _change(growth: int, before: int, what: str = "") -> str:
    return f"{format_growth(growth)}{what} ({format_growth_percent(growth, before)})" if growth else f"no change{what}"


def _sides(comparison: Comparison) -> str:
    sizes = comparison.after.sizes
    packed = f", compressed {format_size(sizes.compressed)}" if sizes.compressed is not None else ""
    line = f"{format_size(sizes.installed)} installed{packed}, {sizes.files:,} files; before: {code(comparison.before.name)}"
    return line if comparison.hashed else f"{line}. Contents were not compared: one side has no hashes."


def _groups(title: str, comparison: Comparison, groups: Sequence[GroupChange], rows: int) -> str:
    """Return the groups that changed, the rest as one row, and the total: nothing where none changed."""
    packs = comparison.compressed
    changed = [group for group in groups if group.changed]
    if not changed:
        return ""
    lines = [[code(group.name), *_numbers([group], packs=packs)] for group in changed[:rows]]
    shown = {group.name for group in changed[:rows]}
    if rest := [group for group in groups if group.name not in shown]:
        lines.append([f"[{len(rest):,} others]", *_numbers(rest, packs=packs)])
    before, after = comparison.before, comparison.after
    if packs:
        label = f"({structure_label(before.kind, after.kind)})"
        lines.append([label, "", "", format_size(after.structure), format_growth(after.structure - before.structure)])
    whole = GroupChange(name="", before=before.sizes, after=after.sizes)
    lines.append(["**total**", *(f"**{number}**" for number in _numbers([whole], packs=packs))])
    return table([title, "installed", "change", *(["compressed", "change"] if packs else [])], lines)


def _numbers(groups: Sequence[GroupChange], *, packs: bool) -> list[str]:
    numbers = [format_size(sum(group.after.installed for group in groups)), format_growth(sum(group.growth for group in groups))]
    if packs:
        numbers.append(format_size(sum(group.after.compressed or 0 for group in groups)))
        numbers.append(format_growth(sum(group.compressed_growth or 0 for group in groups)))
    return numbers


def _releases(comparison: Comparison, rows: int) -> str:
    lines = [
        [code(each.distribution), *(code(release) if release else "-" for release in (each.before, each.after))]
        for each in comparison.versions[:rows]
    ]
    if rest := len(comparison.versions) - len(lines):
        lines.append([f"[{rest:,} others]", "", ""])
    return table(["release", "before", "after"], lines, words=(1, 2))


def _files(comparison: Comparison, rows: int) -> str:
    lines = [[_where(change), change.status, *_file_sizes(change), format_growth(change.growth)] for change in comparison.files[:rows]]
    if rest := comparison.files[rows:]:
        lines.append([f"[{len(rest):,} others]", "", "", "", format_growth(sum(change.growth for change in rest))])
    if lines:
        lines.append(["**total**", "", "", "", f"**{format_growth(sum(change.growth for change in comparison.files))}**"])
    return table(["file", "", "before", "after", "change"], lines, words=(1,))


def _where(change: FileChange) -> str:
    return f"{code(change.former)} → {code(change.path)}" if change.former else code(change.path)


def _file_sizes(change: FileChange) -> list[str]:
    return [format_size(state.size) if state else "" for state in (change.before, change.after)]
