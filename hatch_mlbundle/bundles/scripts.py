"""The scripts inside frozen executables: an application's own entry points, and PyInstaller's run-time hooks."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import closing
from posixpath import basename, dirname

from hatch_mlbundle.bundles.carchive import SCRIPT, content_of, find_carchive
from hatch_mlbundle.bundles.machine_script import MACHINE_SCRIPT
from hatch_mlbundle.bundles.missing_notice import NOTICE
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.importpaths import PYZ, SCRIPTS
from hatch_mlbundle.model import Bundle, File, Kind, MemoryContent

_LARGEST = 1 << 26
"""Bytes of code that no script has."""
_OWN = ("pyiboot", "pyimod", "pyi_rth_setuptools")
"""Begin the names of those of PyInstaller's own scripts that do without what is not there."""


def entry_scripts(bundle: Bundle) -> list[File]:
    """Return the scripts of a bundle's executables as bytecode files.

    Those of finished executables are no part of the bundle, those of executables still to be made (tables.py) are. PyInstaller's
    own that need nothing are left out. Raises ArtifactError where an executable is damaged.
    """
    finished = [script for file in bundle.of_kind(Kind.FROZEN) for script in scripts_in(file)]
    return [script for script in (*finished, *_scripts_to_be(bundle)) if not basename(script.path).startswith(_OWN)]


def python_release(bundle: Bundle) -> int | None:
    """Return the release of Python that a bundle's executables hold code for (3.11 is 311), None where they don't agree, or say none."""
    if _scripts_to_be(bundle):
        return 100 * sys.version_info[0] + sys.version_info[1]
    found = {_release_of(file) for file in bundle.of_kind(Kind.FROZEN)}
    return found.pop() if len(found) == 1 else None


def _scripts_to_be(bundle: Bundle) -> list[File]:
    return [file for path, file in bundle.items() if dirname(path).endswith(SCRIPTS)]


def _release_of(file: File) -> int | None:
    path = file.content.local_path()
    if path is None:
        return None
    with closing(SharedFile(path)) as shared:
        archive = find_carchive(shared)
        return archive.python if archive else None


def scripts_in(file: File) -> Iterator[File]:
    """Yield the scripts in one executable, none where it is not frozen; raises ArtifactError where it is damaged.

    What tells of what was left out, or taken out (missing_notice.py, machine_script.py), names much of which it uses nothing: it is not
    among them.
    """
    path = file.content.local_path()
    if path is None:
        return
    with closing(SharedFile(path)) as shared:
        archive = find_carchive(shared)
        for entry in archive.entries if archive else ():
            if entry.type == SCRIPT and entry.name not in (NOTICE, MACHINE_SCRIPT):
                code = b"".join(content_of(shared, entry, _LARGEST).chunks())
                yield File(
                    path=f"{basename(file.path)}{PYZ}/{entry.name}.pyc",
                    size=entry.stored,
                    sha256=hashlib.sha256(code).hexdigest(),
                    mode=0o644,
                    kind=Kind.BYTECODE,
                    owner=entry.name,
                    content=MemoryContent(code),
                )
