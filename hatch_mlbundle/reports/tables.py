"""What the tables of all reports for a terminal have in common."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from hatch_mlbundle.printable import printable

from .structure import structure_label


def labelled(numbers: Sequence[str | Text], label: str) -> Table:
    """Return a table with its numbers first, so that long labels cannot push them apart."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column(label, overflow="fold")
    return table


def plain(name: str) -> Text:
    """Return a name from an artifact as a cell: nothing in it is markup, or reaches the terminal as anything but text."""
    return Text(printable(name), overflow="fold")


def unbroken(text: str, style: str = "cyan") -> Text:
    """Return a path on a line of its own, never broken: a terminal wraps it in a way that can be copied."""
    return Text(printable(text), no_wrap=True, overflow="ignore", style=style)


def others(count: int) -> Text:
    """Return the label of the row for all that a table has no room for."""
    return Text(f"[{count:,} others]", style="dim")


def structure(*kinds: str) -> Text:
    """Return the label of the row for the bytes of artifacts of these kinds that belong to no file."""
    return Text(structure_label(*kinds), style="dim")
