"""Write an executable without some of its modules and with more scripts, and see that nothing else of it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

from hatch_mlbundle.errors import ArtifactError, UnsoundResultError
from hatch_mlbundle.storage import storage_errors

from .carchive import PYZ, SCRIPT, Entry
from .executable import Executable, find_executable
from .joined import JoinedContent, RangeContent, sha256_of
from .pyz import PyzModule
from .shared_file import SharedFile


def write_executable(executable: Executable, kept: Collection[str], target: Path, scripts: Sequence[tuple[str, bytes]] = ()) -> None:
    """Write the executable with the modules at these paths of the bundle alone, and with scripts besides (`Executable.rebuilt`).

    Raises UnsoundResultError, StorageError.
    """
    save(executable.rebuilt(kept, scripts=scripts), target)
    wanted = {module.path: module for module in executable.modules if executable.path_of(module) in kept}
    try:
        with closing(SharedFile(target)) as file:
            result = find_executable(file, executable.path)
            if result is None or [module.path for module in result.modules] != list(wanted):
                raise UnsoundResultError(f"{executable.path}: lost modules when it was written")
            for module in result.modules:
                if _stored_hash(file, module) != _wanted_hash(executable, wanted[module.path]):
                    raise UnsoundResultError(f"{executable.path}: its module {module.name} changed when it was written")
            added = [(name, SCRIPT, hashlib.sha256(code).hexdigest()) for name, code in scripts]
            if sorted(_entries(result)) != sorted([*_entries(executable), *added]) or _without(result, scripts) != _entries(executable):
                raise UnsoundResultError(f"{executable.path}: its archive changed when it was written")
    except ArtifactError as error:
        raise UnsoundResultError(f"{executable.path}: cannot be read once written: {error.problem}") from error


def _wanted_hash(executable: Executable, module: PyzModule) -> str:
    changed = executable.changed.get(executable.path_of(module))
    return _stored_hash(executable.file, module) if changed is None else hashlib.sha256(changed).hexdigest()


def save(content: JoinedContent, target: Path) -> None:
    """Write content to a new file; raises StorageError."""
    with storage_errors(target), target.open("xb") as stream:
        for chunk in content.chunks():
            stream.write(chunk)


def _entries(executable: Executable) -> list[tuple[str, str, str]]:
    """Return the entries beside the modules: name, type, hash of what is stored."""
    return [(entry.name, entry.type, _stored_hash(executable.file, entry)) for entry in executable.archive.entries if entry.type != PYZ]


def _without(executable: Executable, scripts: Sequence[tuple[str, bytes]]) -> list[tuple[str, str, str]]:
    names = [name for name, _ in scripts]
    return [each for each in _entries(executable) if each[0] not in names]


def _stored_hash(file: SharedFile, part: Entry | PyzModule) -> str:
    return sha256_of(RangeContent(file, part.offset, part.stored))
