"""Names from anywhere, fit for a line of text: nothing in them moves a cursor, breaks the line or turns its direction."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return the text with everything that is no printable character written as Python escapes it: `\n`, `\x1b`, `\u202e`, `\udc80`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, width: int) -> str:
    """Return the printable text, its middle left out where it has more than `width` characters."""
    told = printable(text)
    if len(told) <= width:
        return told
    head = (width - 3) // 2
    return f"{told[:head]}...{told[head + 3 - width :]}"
