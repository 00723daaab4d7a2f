"""Names that file systems, cache keys and artifact stores take, made of any text."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 80
_FOREIGN = re.compile(r"[^A-Za-z0-9_.+-]|^\.+")


def slug(text: str, *, always: bool = False) -> str:
    """Return a text itself where it is plain and short, else what is left of it and eight digits of its hash, as `always` does."""
    plain = _FOREIGN.sub("_", text)[:_LONGEST]
    if plain == text and text and not always:
        return text
    return f"{plain}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"
