"""What could be saved yet: the end of an analysis in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from hatch_mlbundle.manifest import Manifest, SuggestionRow
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_size

from .tables import others


def suggestions_report(manifest: Manifest, *, asked: bool, top: int) -> Iterator[RenderableType]:
    """Yield the `top` largest suggestions, each with the lines that follow it; that there are none is said where `asked`."""
    rows = manifest.suggestions
    for row in rows[:top]:
        yield _heading(row)
        lines = "\n".join(map(printable, row.configuration.splitlines()))
        yield Padding(Text(lines, style="green", overflow="fold"), (0, 0, 0, 2), expand=False)
    if rows[top:]:
        yield others(len(rows) - top)
    if len(rows) > 1:
        yield Text("what several of them would save may be the same bytes", style="dim")
    if asked and not rows:
        yield Text("\nno other step would save anything", style="green")


def _heading(row: SuggestionRow) -> Text:
    lossy = "" if row.lossless else " (lossy)"
    packed = "" if row.saved.compressed is None else f", {format_size(row.saved.compressed)} compressed"
    files = f"{row.files:,} {'file' if row.files == 1 else 'files'}"
    text = Text(f"\ncould save {format_size(row.saved.installed)}{packed}  ")
    text.append(f"{printable(row.optimizer)}{lossy}", style="bold")
    return text.append(f"  {files}")
