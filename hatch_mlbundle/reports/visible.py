"""Any text as something that can be seen, in one line."""

from __future__ import annotations


def visible(text: str, also: str = "") -> str:
    """Return a text with Python's escapes for what is not seen, breaks lines or turns the direction of what follows, and `also` these."""
    return "".join(each if each.isprintable() and each not in also else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}" if character.isprintable() else ascii(character)[1:-1]
