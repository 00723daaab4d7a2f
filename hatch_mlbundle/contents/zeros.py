"""Find where zero bytes end."""

from __future__ import annotations

from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.model import CHUNK


def after_zeros(reader: Reader, at: int, end: int) -> int:
    """Return the place of the first byte from `at` on that is not zero, `end` where there is none before it; raises BinaryError."""
    step = 64
    while at < end:
        data = reader.read(at, min(step, end - at), "padding")
        rest = data.lstrip(b"\0")
        if rest:
            return at + len(data) - len(rest)
        at += len(data)
        step = min(16 * step, CHUNK)
    return end
