"""Markdown for a pull request's comment or a job's summary: the difference first, details folded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.compare import Comparison
from hatch_mlbundle.manifest import FileRow, FileState, Manifest, Saved
from hatch_mlbundle.model import Finding
from hatch_mlbundle.units import format_percent, format_size

from .layer_rows import instruction, layer_sizes
from .markdown_changes import delta, differences
from .markdown_images import advice, components
from .markdown_libraries import libraries
from .markdown_limits import all_limits, verdict
from .markdown_parts import bounded, code, folded, joined, marker, table
from .structure import structure_label

_LONGEST = 100
"""Characters of what made a layer that are shown."""


def analysis_markdown(manifest: Manifest, *, top: int) -> str:
    """Return what takes the space, by package, kind and file, `top` rows each."""
    return bounded(lambda rows: joined([marker(manifest.artifact.name), *_analysis(manifest, rows)]), top)


def comparison_markdown(comparison: Comparison, *, top: int) -> str:
    """Return what grew and shrank, by package, kind and file, `top` rows each, and which releases changed."""
    return bounded(
        lambda rows: joined([marker(comparison.after.name), delta(comparison), *differences(comparison, rows)]),
        top,
    )


def check_markdown(check: BudgetCheck, subject: Comparison | Manifest, *, top: int) -> str:
    """Return whether the budget is kept, and how the artifact differs from the baseline, or, without one, what takes its space."""

    def build(rows: int) -> str:
        head, *rest = _analysis(subject, rows) if isinstance(subject, Manifest) else [delta(subject), *differences(subject, rows)]
        limits = [all_limits(check, rows), folded(f"Findings on the budget: {len(check.findings):,}", _findings(check.findings, rows))]
        return joined([marker(check.artifact), head, verdict(check, rows), *rest, *limits])

    return bounded(build, top)


def _analysis(manifest: Manifest, rows: int) -> list[str]:
    present = [row for row in manifest.files if row.after]
    return [
        _headline(manifest),
        components(manifest, rows) or _groups("package", manifest, present, lambda row: row.owner, rows),
        *advice(manifest, rows),
        folded(f"Layers: {len(manifest.layers):,}", _layers(manifest, rows)),
        folded("By kind", _groups("kind", manifest, present, lambda row: row.kind, rows)),
        folded("Largest files", _groups("file", manifest, present, lambda row: row.path, rows)),
        *libraries(manifest, rows),
        folded("Duplicates", _duplicates(present, rows)),
        folded("What each step saved", _steps(manifest, rows)),
        folded("What other steps would save", _suggestions(manifest, rows)),
        folded(f"Findings: {len(manifest.findings):,}", _findings(manifest.findings, rows)),
    ]


def _headline(manifest: Manifest) -> str:
    before, after = manifest.artifact.before, manifest.artifact.after
    packed = f", compressed {format_size(after.size)}" if manifest.compresses else ""
    saved = before.installed - after.installed
    told = f", {format_percent(saved, before.installed)} less than before all steps" if saved > 0 else ""
    return f"**{format_size(after.installed)} installed**{packed}, {after.files:,} files{told}: {code(manifest.artifact.name)}"


def _groups(title: str, manifest: Manifest, files: Iterable[FileRow], label: Callable[[FileRow], str], rows: int) -> str:
    groups: defaultdict[str, list[FileState]] = defaultdict(list)
    for row in files:
        if row.after:
            groups[label(row)].append(row.after)
    ordered = sorted(groups.items(), key=lambda group: (-sum(state.size for state in group[1]), group[0]))
    packs, totals = manifest.compresses, manifest.artifact.after
    lines = [[code(name), *_sums(states, totals.installed, packs=packs)] for name, states in ordered[:rows]]
    if rest := ordered[rows:]:
        others = list(chain.from_iterable(states for _, states in rest))
        lines.append([f"[{len(rest):,} others]", *_sums(others, totals.installed, packs=packs)])
    if packs:
        lines.append([f"({structure_label(manifest.artifact.kind)})", "", "", format_size(totals.structure), ""])
    packed = [f"**{format_size(totals.size)}**"] if packs else []
    lines.append(["**total**", f"**{format_size(totals.installed)}**", "", *packed, f"**{totals.files:,}**"])
    return table([title, "installed", "", *(["compressed"] if packs else []), "files"], lines)


def _sums(states: Sequence[FileState], whole: int, *, packs: bool) -> list[str]:
    size = sum(state.size for state in states)
    packed = [format_size(sum(state.compressed or 0 for state in states))] if packs else []
    return [format_size(size), format_percent(size, whole), *packed, f"{len(states):,}"]


def _layers(manifest: Manifest, rows: int) -> str:
    lines = [
        [
            code(instruction(row.created_by, _LONGEST)) if row.number else f"[{row.count:,} others]",
            str(row.number or ""),
            *(format_size(size) for size in (row.installed, row.hidden, row.stored)),
        ]
        for row in layer_sizes(manifest, rows)
    ]
    if lines:
        whole = layer_sizes(manifest, 0)[0]
        lines.append(["**total**", "", *(f"**{format_size(size)}**" for size in (whole.installed, whole.hidden, whole.stored))])
    return table(["made by", "layer", "installed", "hidden", "stored"], lines)


def _duplicates(files: Iterable[FileRow], rows: int) -> str:
    copies: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for row in files:
        if row.after and row.after.size and row.after.sha256:
            copies[row.after.size, row.after.sha256].append(row.path)
    wasted = sorted(((size * (len(paths) - 1), paths) for (size, _), paths in copies.items() if len(paths) > 1), reverse=True)
    lines = [[code(paths[0]), f"{len(paths):,}", format_size(size)] for size, paths in wasted[:rows]]
    if rest := wasted[rows:]:
        copied = sum(len(paths) for _, paths in rest)
        lines.append([f"[{len(rest):,} others]", f"{copied:,}", format_size(sum(size for size, _ in rest))])
    if lines:
        copied = sum(len(paths) for _, paths in wasted)
        lines.append(["**total**", f"**{copied:,}**", f"**{format_size(sum(size for size, _ in wasted))}**"])
    return table(["file", "copies", "wasted"], lines)


def _steps(manifest: Manifest, rows: int) -> str:
    if not manifest.steps:
        return ""
    named = [(code(step.optimizer), step.saved) for step in manifest.steps[:rows]]
    if rest := manifest.steps[rows:]:
        named.append((f"[{len(rest):,} others]", _together([step.saved for step in rest])))
    lines = [[name, *_saved(saved.installed, saved.compressed)] for name, saved in [*named, ("(writing)", manifest.remainder)]]
    before, after = manifest.artifact.before, manifest.artifact.after
    sizes = _saved(before.installed - after.installed, before.size - after.size if manifest.compresses else None)
    lines.append(["**total**", *(f"**{size}**" for size in sizes)])
    return table(["step", "installed", *(["compressed"] if manifest.compresses else [])], lines)


def _together(parts: Sequence[Saved]) -> Saved:
    compressed = [saved.compressed for saved in parts if saved.compressed is not None]
    return Saved(installed=sum(saved.installed for saved in parts), compressed=sum(compressed) if compressed else None)


def _saved(installed: int, compressed: int | None) -> list[str]:
    return [format_size(-size) for size in (installed, compressed) if size is not None]


def _suggestions(manifest: Manifest, rows: int) -> str:
    lines = [
        [code(each.optimizer), f"{each.files:,}", format_size(-each.saved.installed), "no change" if each.lossless else "changes numbers"]
        for each in manifest.suggestions[:rows]
    ]
    if rest := len(manifest.suggestions) - len(lines):
        lines.append([f"[{rest:,} others]", "", "", ""])
    return table(["step", "files", "installed", "to what is computed"], lines, words=(3,))


def _findings(findings: Sequence[Finding], rows: int) -> str:
    lines = [f"- {code(finding.line())}" for finding in findings[:rows]]
    rest = len(findings) - len(lines)
    return "\n".join([*lines, *([f"- [{rest:,} others]"] if rest else [])])
