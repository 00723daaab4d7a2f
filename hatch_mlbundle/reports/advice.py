"""What could be done about a container image: each option with what it saves, what speaks for and against it, and the exact change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.manifest import AdviceRow, EditRow, Manifest
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_percent, format_size

from .advice_sizes import ImageSizes, sizes_now, sizes_with_all, told
from .tables import labelled, others, plain, unbroken


def advice_table(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table of the image's sizes now, with each option by itself, and with all of them; nothing where there is no option."""
    rows, now = manifest.advice, sizes_now(manifest)
    if not rows:
        return []
    table = labelled(["unpacked", "compressed", ""], "what could be done")
    _add(table, now, now, Text("now, with what layers hide", style="dim"))
    for number, row in enumerate(rows[:top], start=1):
        _add(table, now.less([row.saved]), now, Text(f"{number}  ", overflow="fold").append_text(plain(row.title)))
    if rows[top:]:
        table.add_row("", "", "", others(len(rows) - top))
    table.add_section()
    _add(table, sizes_with_all(manifest), now, Text("all of these", style="bold"))
    return [Text(), table]


def advice_hint(manifest: Manifest) -> list[RenderableType]:
    """Return the line that says how to get the options in full; nothing where there are none."""
    hint = "what speaks for and against each, and the lines to write: --advice"
    return [Text(hint, style="dim")] if manifest.advice else []


def advice_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return the `top` options in full, the one that saves most first; nothing where there are none.

    Lines to paste are not broken: a terminal wraps them in a way that can be copied.
    """
    parts: list[RenderableType] = []
    for position in range(min(top, len(manifest.advice))):
        parts += _option(manifest.advice, position)
    if manifest.advice[top:]:
        parts += [Text(), others(len(manifest.advice) - top)]
    return parts


def _add(table: Table, sizes: ImageSizes, now: ImageSizes, label: Text) -> None:
    percent = "" if sizes == now else format_percent(sizes.stored - now.stored, now.stored)
    table.add_row(format_size(sizes.unpacked), format_size(sizes.stored), percent, label)


def _option(rows: Sequence[AdviceRow], position: int) -> Iterator[RenderableType]:
    row = rows[position]
    yield Text()
    yield Text(f"{position + 1}  ", style="bold").append_text(plain(row.title))
    yield Padding(Text(told(rows, position), style="green"), (0, 0, 0, 3), expand=False)
    for sign, sentences in (("+", row.pros), ("-", row.cons)):
        for sentence in sentences:
            yield Padding(_point(sign, sentence), (0, 0, 0, 3), expand=False)
    for edit in row.edits:
        yield from _edit(edit)


def _point(sign: str, sentence: str) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(sign, plain(sentence))
    return table


def _edit(edit: EditRow) -> Iterator[RenderableType]:
    yield Text(f"   {printable(edit.where)}:", style="dim")
    for line in edit.text.split("\n"):
        yield unbroken(f"      {line}", style="dim" if line.startswith("#") else "cyan")
