"""Tables for a terminal of 80 columns, made from manifests and plans alone."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import Manifest, Saved, Totals
from hatch_mlbundle.model import Add, Bundle, Change, Convert, Drop, Finding, Keep, Leave, Link, Rewrite
from hatch_mlbundle.printable import printable
from hatch_mlbundle.runtime.models.places import NEIGHBOUR
from hatch_mlbundle.standard_output import standard_output
from hatch_mlbundle.units import format_percent, format_size
from hatch_mlbundle.verification.report import Verification

from .accuracy import models_report
from .components import components_report
from .contents import contents_report
from .layers import layers_report
from .libraries import libraries_report
from .space import by_group, duplicates, largest_files
from .structure import REMAINDERS
from .tables import others, plain, unbroken
from .verification import verification_report

if TYPE_CHECKING:
    from hatch_mlbundle.pipeline import Planned

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
    text = None if console.is_terminal else as_text(report)
    with standard_output():
        if text is None:
            console.print(report, crop=False)
        else:
            print(text)  # noqa: T201


def summary(manifest: Manifest, place: Path | None = None, verification: Verification | None = None) -> RenderableType:
    """Return what was saved, step by step, what was done to models, what was found, how it was verified, and where the manifest lies."""
    before, after = manifest.artifact.before, manifest.artifact.after
    compresses = manifest.compresses
    table = _table("step", "files", "installed", *(["compressed"] if compresses else []))
    for step in manifest.steps:
        changed = sum(count for action, count in step.changes.items() if action != "keep")
        table.add_row(plain(step.optimizer), f"{changed:,}" if changed else "", *_saved(step.saved))
    if any(_saved(manifest.remainder)):
        table.add_row(REMAINDERS.get(manifest.artifact.kind, "other"), "", *_saved(manifest.remainder))
    table.add_section()
    for label, totals in (("before", before), ("after", after)):
        table.add_row(label, f"{totals.files:,}", format_size(totals.installed), *([format_size(totals.size)] if compresses else []))
    parts: list[RenderableType] = [unbroken(manifest.artifact.name), table, _verdict(before, after, compresses=compresses)]
    models = models_report(manifest)
    parts += [models] if models else []
    parts += _outside(manifest)
    parts += [_finding(finding) for finding in manifest.findings]
    parts += [unbroken(f"{packed.format}: {packed.name}, {format_size(packed.size)}") for packed in manifest.packed]
    parts += [verification_report(verification)] if verification else []
    from .budget import budget_line  # it knows of releases, which takes packaging's time: an analysis needs none

    budget = budget_line(manifest, verified=verification is not None)
    parts += [budget] if budget else []
    if place is not None:
        parts.append(unbroken(f"manifest: {place}"))
    return Group(*parts)


def plan_report(name: str, bundle: Bundle, stages: Iterable[Planned], findings: Iterable[Finding], *, top: int) -> RenderableType:
    """Return what each step would do, with its `top` largest changes and their reasons."""
    parts: list[RenderableType] = [unbroken(name)]
    for planned in stages:
        parts.append(Text(f"\n{planned.stage.name}: {_counts(planned.changes, bundle)}", style="bold"))
        parts.append(_changes(planned.changes, bundle, top))
    parts += [_finding(finding) for finding in findings]
    return Group(*parts)


def analysis(manifest: Manifest, *, top: int) -> RenderableType:
    """Return what takes the space: by owner (of an image, by component), by kind, the `top` largest files, and files that are there more
    than once; what the steps of a manifest saved, what it was packed into, and its findings.
    """
    totals = manifest.artifact.after
    packed = f", {format_size(totals.size)} compressed" if manifest.compresses else ""
    inside = contents_report(manifest, top=top)
    parts: list[RenderableType] = [
        unbroken(manifest.artifact.name),
        Text(f"{totals.files:,} files, {format_size(totals.installed)} installed{packed}"),
        *_steps(manifest, top),
        *(unbroken(f"{row.format}: {row.name}, {format_size(row.size)}") for row in manifest.packed),
        Text(),
        *layers_report(manifest, top=top),
        *(components_report(manifest, top=top) or [by_group("package", manifest, lambda row: row.owner, top)]),
        by_group("kind", manifest, lambda row: row.kind, top),
        largest_files(manifest, top),
        *([inside] if inside else []),
        *libraries_report(manifest, top=top),
        duplicates(manifest, top),
    ]
    parts += [Text(), *(_finding(finding) for finding in manifest.findings[:top])] if manifest.findings else []
    parts += [others(len(manifest.findings) - top)] if len(manifest.findings) > top else []
    return Group(*parts)


def _steps(manifest: Manifest, top: int) -> Iterator[Text]:
    """Yield a line for what the steps saved together, the largest first; nothing where there are none."""
    before, after = manifest.artifact.before.installed, manifest.artifact.after.installed
    if not manifest.steps:
        return
    ordered = sorted(manifest.steps, key=lambda step: -step.saved.installed)
    told = [f"{printable(step.optimizer)} {format_size(step.saved.installed)}" for step in ordered[:top] if step.saved.installed]
    rest = before - after - sum(step.saved.installed for step in ordered[:top])
    told += [f"other {format_size(rest)}"] if rest else []
    count = f"{len(ordered):,} {'step' if len(ordered) == 1 else 'steps'}"
    saved = f"{format_size(before - after)} ({format_percent(before - after, before)}) saved by {count}"
    yield Text(": ".join([saved, *([", ".join(told)] if told else [])]), style="green", overflow="fold")


def _outside(manifest: Manifest) -> list[Text]:
    """Return a line for the models that lie beside the artifact, nothing where none do."""
    sizes: Counter[str] = Counter()
    for row in manifest.companions:
        if row.model:
            sizes[row.model] += row.size
    if not sizes:
        return []
    told = ", ".join(f"{printable(name)} {format_size(size)}" for name, size in sorted(sizes.items()))
    return [Text(f"models in {printable(manifest.artifact.name)}{NEIGHBOUR}: {told}", style="green", overflow="fold")]


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table


def _saved(saved: Saved) -> list[str]:
    sizes = [saved.installed] if saved.compressed is None else [saved.installed, saved.compressed]
    return [format_size(-size) if size else "" for size in sizes]


def _verdict(before: Totals, after: Totals, *, compresses: bool) -> Text:
    if (before.installed, before.size) == (after.installed, after.size):
        return Text("nothing to save", style="green")
    parts = [f"{format_percent(before.installed - after.installed, before.installed)} smaller installed"]
    if compresses:
        parts.append(f"{format_percent(before.size - after.size, before.size)} smaller compressed")
    return Text(", ".join(parts), style="green")


def _finding(finding: Finding) -> Text:
    return Text(finding.line(), style="yellow", overflow="fold")


def _counts(changes: Sequence[Change], bundle: Bundle) -> str:
    verbs: dict[type[Change], str] = {
        Drop: "to drop",
        Leave: "to take out",
        Rewrite: "to rewrite",
        Convert: "to convert",
        Add: "to add",
        Link: "to link",
        Keep: "kept",
    }
    counts = Counter(type(change) for change in changes)
    told = [f"{counts[kind]:,} {verb}" for kind, verb in verbs.items() if counts[kind]]
    saves = sum(_saves(change, bundle) for change in changes)
    return ", ".join([*told, f"saves {format_size(saves)}"]) if told else "nothing to do"


def _saves(change: Change, bundle: Bundle) -> int:
    match change:
        case Drop() | Link():
            return bundle[change.path].size
        case Leave():
            return sum(bundle[path].size for path in change.paths)
        case Rewrite() | Convert():
            return change.saves or 0
    return 0


def _changes(changes: Sequence[Change], bundle: Bundle, top: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", no_wrap=True, width=8)
    table.add_column(overflow="fold")
    ordered = sorted(changes, key=lambda change: -_saves(change, bundle))
    for change in ordered[:top]:
        text = plain(change.path)
        text.append(f"\n{type(change).__name__.lower()}: {printable(change.reason)}", style="dim")
        table.add_row(format_size(-_saves(change, bundle)) if _saves(change, bundle) else "", text)
    if len(ordered) > top:
        rest = sum(_saves(change, bundle) for change in ordered[top:])
        table.add_row(format_size(-rest) if rest else "", others(len(ordered) - top))
    return table
