"""The scripts inside frozen executables: an application's own entry points, and PyInstaller's run-time hooks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from posixpath import basename

from hatch_mlbundle.bundles.carchive import Entry, find_carchive
from hatch_mlbundle.bundles.joined import InflatedContent, RangeContent
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.importpaths import PYZ
from hatch_mlbundle.model import Bundle, File, Kind, MemoryContent

_SCRIPT = "s"
_LARGEST = 1 << 26
"""Bytes of code that no script has."""
_OWN = ("pyiboot", "pyimod", "pyi_rth_setuptools")
"""Begin the names of those of PyInstaller's own scripts that do without what is not there."""


def entry_scripts(bundle: Bundle) -> list[File]:
    """Return the scripts of a bundle's executables as bytecode files, as if they lay among the modules; they are no part of the bundle.

    Those of PyInstaller's own that need nothing are left out. Raises ArtifactError where an executable is damaged.
    """
    return [script for file in bundle.of_kind(Kind.FROZEN) for script in _scripts_of(file)]


def python_release(bundle: Bundle) -> int | None:
    """Return the release of Python that a bundle's executables hold code for (3.11 is 311), None where they don't agree, or say none."""
    found = {_release_of(file) for file in bundle.of_kind(Kind.FROZEN)}
    return found.pop() if len(found) == 1 else None


def _release_of(file: File) -> int | None:
    path = file.content.local_path()
    if path is None:
        return None
    with closing(SharedFile(path)) as shared:
        archive = find_carchive(shared)
        return archive.python if archive else None


def _scripts_of(file: File) -> Iterator[File]:
    path = file.content.local_path()
    if path is None:
        return
    with closing(SharedFile(path)) as shared:
        archive = find_carchive(shared)
        for entry in archive.entries if archive else ():
            if entry.type == _SCRIPT and not entry.name.startswith(_OWN):
                code = _code(shared, entry)
                yield File(
                    path=f"{basename(file.path)}{PYZ}/{entry.name}.pyc",
                    size=entry.stored,
                    sha256=hashlib.sha256(code).hexdigest(),
                    mode=0o644,
                    kind=Kind.BYTECODE,
                    owner=entry.name,
                    content=MemoryContent(code),
                )


def _code(shared: SharedFile, entry: Entry) -> bytes:
    if entry.compressed:
        return b"".join(InflatedContent(shared, entry.offset, entry.stored, _LARGEST).chunks())
    return b"".join(RangeContent(shared, entry.offset, entry.stored).chunks())
