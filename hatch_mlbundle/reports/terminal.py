"""Tables for a terminal of 80 columns, made from manifests and plans alone."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import FileRow, FileState, Manifest, Saved, Totals
from hatch_mlbundle.model import Add, Bundle, Change, Convert, Drop, Finding, Keep, Link, Rewrite
from hatch_mlbundle.pipeline import Planned
from hatch_mlbundle.units import format_percent, format_size
from hatch_mlbundle.verification.report import Verification

from .accuracy import models_report
from .layers import layers_report
from .verification import verification_report

_REMAINDERS = {"wheel": "RECORD, zip headers", "frozen": "archive headers"}
"""What is changed by writing an artifact of this kind, whatever the steps did."""

WIDTH = 80
"""Columns that every report fits into."""


def as_text(report: RenderableType) -> str:
    """Return a report as plain text without colours, `WIDTH` columns wide, no blanks at line ends."""
    sink = io.StringIO()
    Console(file=sink, width=WIDTH, color_system=None, legacy_windows=False).print(report, crop=False)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines())


def show(report: RenderableType) -> None:
    """Print a report to standard output: with colours and at its width on a terminal, as plain text elsewhere."""
    console = Console()
    if console.is_terminal:
        console.print(report, crop=False)
    else:
        print(as_text(report))  # noqa: T201


def summary(manifest: Manifest, place: Path | None = None, verification: Verification | None = None) -> RenderableType:
    """Return what was saved, step by step, what was done to models, what was found, how it was verified, and where the manifest lies."""
    before, after = manifest.artifact.before, manifest.artifact.after
    packs = _packs(manifest)
    table = _table("step", "files", "installed", *(["compressed"] if packs else []))
    for step in manifest.steps:
        changed = sum(count for action, count in step.changes.items() if action != "keep")
        table.add_row(step.optimizer, f"{changed:,}" if changed else "", *_saved(step.saved))
    if any(_saved(manifest.remainder)):
        table.add_row(_REMAINDERS.get(manifest.artifact.kind, "other"), "", *_saved(manifest.remainder))
    table.add_section()
    for label, totals in (("before", before), ("after", after)):
        table.add_row(label, f"{totals.files:,}", format_size(totals.installed), *([format_size(totals.size)] if packs else []))
    parts: list[RenderableType] = [_path(manifest.artifact.name), table, _verdict(before, after, packs=packs)]
    models = models_report(manifest)
    parts += [models] if models else []
    parts += [_finding(finding) for finding in manifest.findings]
    parts += [_path(f"{packed.format}: {packed.name}, {format_size(packed.size)}") for packed in manifest.packed]
    parts += [verification_report(verification)] if verification else []
    if place is not None:
        parts.append(_path(f"manifest: {place}"))
    return Group(*parts)


def plan_report(name: str, bundle: Bundle, stages: Iterable[Planned], findings: Iterable[Finding], *, top: int) -> RenderableType:
    """Return what each step would do, with its `top` largest changes and their reasons."""
    parts: list[RenderableType] = [_path(name)]
    for planned in stages:
        parts.append(Text(f"\n{planned.stage.name}: {_counts(planned.changes, bundle)}", style="bold"))
        parts.append(_changes(planned.changes, bundle, top))
    parts += [_finding(finding) for finding in findings]
    return Group(*parts)


def analysis(manifest: Manifest, *, top: int) -> RenderableType:
    """Return what takes the space: by owner, by kind, the `top` largest files, and files that are there more than once."""
    totals = manifest.artifact.after
    packed = f", {format_size(totals.size)} compressed" if _packs(manifest) else ""
    parts: list[RenderableType] = [
        _path(manifest.artifact.name),
        Text(f"{totals.files:,} files, {format_size(totals.installed)} installed{packed}\n"),
        *layers_report(manifest, top=top),
        _groups("package", manifest, [row.owner for row in manifest.files], top),
        _groups("kind", manifest, [row.kind for row in manifest.files], top),
        _groups("largest files", manifest, [row.path for row in manifest.files], top),
    ]
    return Group(*parts, _duplicates(manifest.files, top))


def _packs(manifest: Manifest) -> bool:
    return manifest.remainder.compressed is not None


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table


def _path(text: str) -> Text:
    """Return a path on a line of its own, never broken: a terminal wraps it in a way that can be copied."""
    return Text(text, no_wrap=True, overflow="ignore", style="cyan")


def _saved(saved: Saved) -> list[str]:
    sizes = [saved.installed] if saved.compressed is None else [saved.installed, saved.compressed]
    return [format_size(-size) if size else "" for size in sizes]


def _verdict(before: Totals, after: Totals, *, packs: bool) -> Text:
    if (before.installed, before.size) == (after.installed, after.size):
        return Text("nothing to save", style="green")
    parts = [f"{format_percent(before.installed - after.installed, before.installed)} smaller installed"]
    if packs:
        parts.append(f"{format_percent(before.size - after.size, before.size)} smaller compressed")
    return Text(", ".join(parts), style="green")


def _finding(finding: Finding) -> Text:
    return Text(finding.line(), style="yellow", overflow="fold")


def _counts(changes: Sequence[Change], bundle: Bundle) -> str:
    verbs = {Drop: "to drop", Rewrite: "to rewrite", Convert: "to convert", Add: "to add", Link: "to link", Keep: "kept"}
    counts = Counter(type(change) for change in changes)
    told = [f"{counts[kind]:,} {verb}" for kind, verb in verbs.items() if counts[kind]]
    saves = sum(_saves(change, bundle) for change in changes)
    return ", ".join([*told, f"saves {format_size(saves)}"]) if told else "nothing to do"


def _saves(change: Change, bundle: Bundle) -> int:
    match change:
        case Drop() | Link():
            return bundle[change.path].size
        case Rewrite() | Convert():
            return change.saves or 0
    return 0


def _changes(changes: Sequence[Change], bundle: Bundle, top: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", no_wrap=True, width=8)
    table.add_column(overflow="fold")
    ordered = sorted(changes, key=lambda change: -_saves(change, bundle))
    for change in ordered[:top]:
        text = Text(change.path, overflow="fold")
        text.append(f"\n{type(change).__name__.lower()}: {change.reason}", style="dim")
        table.add_row(format_size(-_saves(change, bundle)) if _saves(change, bundle) else "", text)
    if len(ordered) > top:
        rest = sum(_saves(change, bundle) for change in ordered[top:])
        table.add_row(format_size(-rest) if rest else "", _others(len(ordered) - top))
    return table


def _groups(title: str, manifest: Manifest, labels: Sequence[str], top: int) -> Table:
    """Return the sizes of the files grouped by their labels, largest first, what is left over as one row."""
    groups: defaultdict[str, list[FileState]] = defaultdict(list)
    for label, row in zip(labels, manifest.files, strict=True):
        if row.after:
            groups[label].append(row.after)
    packs = _packs(manifest)
    whole = manifest.artifact.after.installed
    table = _labelled(["installed", "", *(["compressed"] if packs else []), "files"], title)
    ordered = sorted(groups.items(), key=lambda group: (-sum(state.size for state in group[1]), group[0]))
    for label, states in ordered[:top]:
        table.add_row(*_sums(states, whole, packs=packs), label)
    rest = [state for _, states in ordered[top:] for state in states]
    if rest:
        table.add_row(*_sums(rest, whole, packs=packs), _others(len(ordered) - top))
    table.add_row()
    return table


def _sums(states: Sequence[FileState], whole: int, *, packs: bool) -> list[str]:
    size = sum(state.size for state in states)
    packed = [format_size(sum(state.compressed or 0 for state in states))] if packs else []
    return [format_size(size), format_percent(size, whole), *packed, f"{len(states):,}"]


def _labelled(numbers: Sequence[str], label: str) -> Table:
    """Return a table with its numbers first, so that long labels cannot push them apart."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column(label, overflow="fold")
    return table


def _others(count: int) -> Text:
    return Text(f"[{count:,} others]", style="dim")


def _duplicates(files: Iterable[FileRow], top: int) -> RenderableType:
    copies: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for row in files:
        if row.after and row.after.size and row.after.sha256:
            copies[row.after.size, row.after.sha256].append(row.path)
    wasted = sorted(((size * (len(paths) - 1), paths) for (size, _), paths in copies.items() if len(paths) > 1), reverse=True)
    if not wasted:
        return Text("no duplicates", style="dim")
    table = _labelled(["wasted", "copies"], "duplicates")
    for size, paths in wasted[:top]:
        table.add_row(format_size(size), f"{len(paths):,}", paths[0])
    if len(wasted) > top:
        rest = wasted[top:]
        table.add_row(format_size(sum(size for size, _ in rest)), f"{sum(len(paths) for _, paths in rest):,}", _others(len(rest)))
    return table
