"""Names from artifacts as text on one line: a file's name may hold what moves a terminal's cursor, or turns the text around."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text in which whatever is not a letter, digit, mark, sign or plain blank is written as an escape: `\\n`, `\\u202e`.

    So are the halves of surrogates that stand for bytes of a file's name that are no text: any UTF-8 stream takes the result.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
