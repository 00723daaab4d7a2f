"""The scripts that a frozen executable runs: they are in its archive, but are no modules."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .carchive import find_carchive
from .shared_file import SharedFile

_SCRIPT = "s"
_LARGEST = 1 << 26
"""Bytes of code that no script has."""


def scripts_of(path: Path) -> Iterator[bytes]:
    """Yield the marshalled code of the scripts in an executable, none where it is not frozen; raises ArtifactError."""
    with closing(SharedFile(path)) as file:
        archive = find_carchive(file)
        for entry in archive.entries if archive else ():
            if entry.type == _SCRIPT and entry.size <= _LARGEST:
                data = file.read_at(entry.offset, entry.stored)
                try:
                    yield zlib.decompressobj().decompress(data, _LARGEST) if entry.compressed else data
                except zlib.error as error:
                    raise file.damaged(f"has a script {entry.name!a} that cannot be unpacked") from error
