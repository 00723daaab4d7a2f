"""Whether a bytecode file goes by its source's size, time or hash: then the source cannot change alone."""

from __future__ import annotations

from hatch_mlbundle.model import File
from hatch_mlbundle.optimizer import Json

_BY_HASH, _CHECKED = 1, 2


def examine_bytecode(file: File) -> Json:
    """Return whether Python would take the bytecode for stale when its source changes (PEP 552: the flags stand behind the magic)."""
    head = next(iter(file.content.chunks()), b"")[:16]
    flags = int.from_bytes(head[4:8], "little")
    return not (flags & _BY_HASH) or bool(flags & _CHECKED)
