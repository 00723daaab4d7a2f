"""What a container image is made of, and what could be done about it, as parts of a Markdown report."""

from __future__ import annotations

from collections.abc import Iterator

from hatch_mlbundle.manifest import ComponentRow, Manifest
from hatch_mlbundle.units import format_percent, format_size

from .advice_sizes import ImageSizes, sizes_now, sizes_with_all, told
from .component_rows import Amount, component_kinds, title
from .markdown_parts import block, code, folded, prose, table
from .structure import structure_label

_FULL = 10
"""Options whose lines are written: a comment has little room."""
_LANGUAGES = {"compose.yaml": "yaml", "pod.yaml": "yaml", "pyproject.toml": "toml", "sh": "sh"}


def components(manifest: Manifest, rows: int) -> str:
    """Return a table of the components by kind, the `rows` largest one by one; nothing where there are none."""
    totals = manifest.artifact.after
    lines = []
    for group in component_kinds(manifest, rows):
        detail = f" {code(group.detail)}" if group.detail else ""
        lines.append([f"**{group.label}**{detail}", *_sizes(group.whole, totals.installed)])
        lines += [[_named(row, group.detail), *_sizes(row, totals.installed)] for row in group.shown]
        if group.shown and group.others:
            lines.append([f"[{group.others:,} others]", *_sizes(group.rest, totals.installed)])
    if not lines:
        return ""
    lines.append([f"({structure_label(manifest.artifact.kind)})", "", "", format_size(totals.structure), ""])
    whole = Amount(installed=totals.installed, compressed=totals.size, files=totals.files)
    lines.append(["**total**", *(f"**{cell}**" for cell in _sizes(whole, totals.installed))])
    return table(["component", "installed", "", "compressed", "files"], lines)


def advice(manifest: Manifest, rows: int) -> Iterator[str]:
    """Yield a table of the sizes now, with each option and with all, and then each option, folded; nothing where there is none."""
    if not manifest.advice:
        return
    now = sizes_now(manifest)
    lines = [["now, with what layers hide", *_with(now, now)]]
    lines += [
        [f"{number}: {prose(row.title)}", *_with(now.less([row.saved]), now)] for number, row in enumerate(manifest.advice[:rows], start=1)
    ]
    if rest := len(manifest.advice) - min(rows, len(manifest.advice)):
        lines.append([f"[{rest:,} others]", "", "", ""])
    lines.append(["**all of these**", *(f"**{cell}**" for cell in _with(sizes_with_all(manifest), now))])
    yield table(["what could be done", "unpacked", "compressed", ""], lines)
    for position in range(min(rows, _FULL, len(manifest.advice))):
        yield folded(f"How: {position + 1}", _option(manifest, position))


def _option(manifest: Manifest, position: int) -> str:
    row = manifest.advice[position]
    points = [f"- {sign} {prose(sentence)}" for sign, part in (("for:", row.pros), ("against:", row.cons)) for sentence in part]
    edits = [f"{code(edit.where)}\n\n{block(edit.text, _LANGUAGES.get(edit.where, ''))}" for edit in row.edits]
    return "\n\n".join([f"**{prose(row.title)}**: {told(manifest.advice, position)}", "\n".join(points), *edits])


def _named(row: ComponentRow, known: str) -> str:
    return f"{code(title(row))} {code(row.detail)}" if row.detail not in ("", known) else code(title(row))


def _sizes(size: Amount | ComponentRow, whole: int) -> list[str]:
    return [format_size(size.installed), format_percent(size.installed, whole), format_size(size.compressed), f"{size.files:,}"]


def _with(sizes: ImageSizes, now: ImageSizes) -> list[str]:
    percent = "" if sizes == now else format_percent(sizes.stored - now.stored, now.stored)
    return [format_size(sizes.unpacked), format_size(sizes.stored), percent]
