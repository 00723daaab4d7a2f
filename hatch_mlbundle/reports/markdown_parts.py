"""What a Markdown report is put together from: names that cannot do anything, tables, folded parts, and a bound for all of it.

The dialect is GitHub Flavored Markdown (https://github.github.com/gfm/), which GitLab reads, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from urllib.parse import quote

from hatch_mlbundle.printable import printable

LIMIT = 60_000
"""Bytes of UTF-8 that a report takes at most: a comment on GitHub holds 65,536 characters."""

_LONGEST = 120
"""Characters of a name that are shown; of a longer one the middle goes."""

_LINKED = re.compile(r"@|://|www\.", re.IGNORECASE)
"""What becomes a mention or a link without any markup."""
_PUNCTUATION = re.compile(r"[\\*_{}\[\]<>#|~&$!]")
_BACKTICKS = re.compile("`+")

_SHORTEST_ROW = 20
"""Bytes that no row of a table is below."""


def marker(name: str) -> str:
    """Return a comment that no reader sees, by which a program finds the report called `name` again."""
    quoted = quote(name, safe=" ()+,=@", errors="backslashreplace")
    return f"<!-- mlbundle: {quoted.replace('--', '%2D%2D')} -->"  # two hyphens would end the comment


@lru_cache(maxsize=8_192)  # a report that is too long is made again, shorter
def code(text: str) -> str:
    """Return any text as a code span: nothing in it is markup, a link or a mention, and it may stand in a table."""
    shown = _shown(text) if len(text) <= _LONGEST else f"{_shown(text[:_LONGEST])}…{_shown(text[-_LONGEST:])}"
    if len(shown) > _LONGEST:
        half = (_LONGEST - 1) // 2
        shown = f"{shown[:half]}…{shown[-half:]}"
    if not shown.strip():
        return "`(blank)`"
    fence = "`" * (1 + max(map(len, _BACKTICKS.findall(shown)), default=0))  # a span ends with as many as it began with
    space = " " if "`" in (shown[0], shown[-1]) or shown[0] == shown[-1] == " " else ""  # one on both sides is no part of it
    return f"{fence}{space}{shown}{space}{fence}"


def prose(text: str) -> str:
    """Return sentences of ours, with names of others in them, as they are read: code between backticks, and no other markup."""
    if _LINKED.search(text):
        return code(text)
    parts = printable(text).split("`")
    return "".join(code(part) if place % 2 else _PUNCTUATION.sub(r"\\\g<0>", part) for place, part in enumerate(parts))


def _shown(text: str) -> str:
    return printable(text).replace("|", "\\x7c")  # it would end the cell of a table


def block(text: str, language: str = "") -> str:
    """Return lines as a code block that nothing in them ends."""
    lines = [printable(line) for line in text.split("\n")]
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    return "\n".join([f"{fence}{language}", *lines, fence])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: Collection[int] = ()) -> str:
    """Return a table, its first column and those of `words` to the left, numbers to the right; nothing where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|".join("---" if column == 0 or column in words else "---:" for column in range(len(heads)))
    return "\n".join([f"| {' | '.join(heads)} |", f"|{rule}|", *lines]) if lines else ""


def folded(summary: str, body: str) -> str:
    """Return a part that opens when its summary, plain words of ours, is clicked; nothing without a body."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>" if body else ""


def joined(parts: Iterable[str]) -> str:
    """Return the parts that there are as paragraphs of one text."""
    return "\n\n".join(part for part in parts if part) + "\n"


def bounded(build: Callable[[int], str], rows: int) -> str:
    """Return what `build` makes with the most rows in each table, up to `rows`, that stays within LIMIT."""
    rows = min(rows, LIMIT // _SHORTEST_ROW)
    text = build(rows)
    while len(text.encode()) > LIMIT and rows:
        rows //= 2
        text = build(rows)
    return text
