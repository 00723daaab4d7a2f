"""What the native libraries of a bundle could lose: read on all cores, from the cache where that knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hatch_mlbundle.binaries.library_pruning import Wanted
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.decode import decode
from hatch_mlbundle.errors import BinaryError
from hatch_mlbundle.examine import examine
from hatch_mlbundle.manifest import ContentsRow
from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.pipeline import Services
from hatch_mlbundle.removable import RemovableRow

from .removable import identity_of, removable, told

_FORMAT = 1
"""Raised when facts that older releases left in the cache can no longer be used."""


def removable_of(bundle: Bundle, contents: Sequence[ContentsRow], wanted: Wanted, services: Services) -> tuple[RemovableRow, ...]:
    """Return what the ELF files of a bundle made of `contents` could lose, sorted by path; nothing of one that cannot be believed.

    Raises StorageError.
    """
    files = [file for file in bundle.of_kind(Kind.ELF) if file.link is None and file.size]

    def inspect(file: File) -> Json:
        return _fact(file.path, file.content.local_path() or services.workspace.local(file), wanted)

    local = all(file.content.local_path() for file in files)
    facts = examine(["removable", _FORMAT, identity_of(wanted)], files, inspect, None if local else services.pool, services.cache)
    rows = (decode(RemovableRow, fact, path) for path, fact in sorted(facts.items()) if fact is not None)
    return told(rows, bundle, contents, wanted)


def _fact(name: str, path: Path, wanted: Wanted) -> Json:
    try:
        with Reader(path) as reader:
            row = removable(reader, name, wanted)
    except (BinaryError, OSError):
        return None
    return asdict(row) if row else None
