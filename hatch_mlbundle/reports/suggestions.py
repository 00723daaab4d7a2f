"""What could be saved yet, and what there is to know besides: the end of an analysis in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from hatch_mlbundle.manifest import Manifest, SuggestionRow
from hatch_mlbundle.units import format_size


def notes_report(manifest: Manifest, *, asked: bool) -> Iterator[RenderableType]:
    """Yield the suggestions, each with the lines that follow it, and the findings; that there are none is said where `asked`."""
    for row in manifest.suggestions:
        yield _heading(row)
        yield Padding(Text(row.configuration, style="green", overflow="fold"), (0, 0, 0, 2), expand=False)
    if len(manifest.suggestions) > 1:
        yield Text("What several steps would save may be the same bytes.", style="dim")
    if asked and not manifest.suggestions:
        yield Text("\nno other step would save anything", style="green")
    for finding in manifest.findings:
        yield Text(finding.line(), style="yellow", overflow="fold")


def _heading(row: SuggestionRow) -> Text:
    lossy = "" if row.lossless else " (lossy)"
    packed = "" if row.saved.compressed is None else f", {format_size(row.saved.compressed)} compressed"
    files = f"{row.files:,} {'file' if row.files == 1 else 'files'}"
    text = Text(f"\ncould save {format_size(row.saved.installed)}{packed}  ")
    text.append(f"{row.optimizer}{lossy}", style="bold")
    return text.append(f"  {files}")
