"""The tree that a wheel is packed from: read it in the order in which it is packed, and bring it to what a wheel holds."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.canonical import sha256_of_file
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import DiskContent, File, Kind

from .member_names import name_fault
from .record import parse_record

Recorded: TypeAlias = Mapping[str, tuple[str, str, int | None]]
"""What RECORD says of each file: algorithm, hash, size in bytes."""

_LONG_AGO = (0, 0)


def tree_files(tree: Path, pool: Executor) -> list[File]:
    """Return the files of a tree, links as the files that they lead to, in the order in which the `wheel` library packs them.

    Of the permission bits only those count that a wheel is built with anywhere: 755 where the owner may execute the file, else 644.
    Raises ArtifactError for a name that no wheel can have, OSError where a file cannot be read.
    """
    return list(pool.map(lambda path: _file(tree, path), _paths(tree)))


def recorded(wheel: Path) -> Recorded:
    """Return what the RECORD of a wheel, which was just built, lists; raises ArtifactError where there is none that can be read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD") and name.count("/") == 1]
            if len(names) != 1:
                raise ArtifactError(wheel.name, f"was built with {len(names)} files dist-info/RECORD; a wheel has one")
            rows = parse_record(archive.read(names[0]).decode("utf-8"))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(wheel.name, f"was built with a RECORD that cannot be read ({error}); build it again") from None
    return {path: (row.algorithm, row.digest, row.size) for path, row in rows.items()}


def follow(tree: Path, before: Path, after: Path) -> None:
    """Bring the tree that the wheel `before` was packed from to what the wheel `after` holds; what is written there is new to its name.

    Rewritten files get a time long ago: a build that goes on from this tree then takes its own, newer ones instead.
    """
    old, new = recorded(before), recorded(after)
    for path in old.keys() - new.keys():
        _drop(tree, path)
    changed = [path for path, row in new.items() if old.get(path) != row]
    with zipfile.ZipFile(after) as archive:
        for path in changed:
            _write(archive, path, tree / path)


def _paths(tree: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(tree):
        folders.sort()
        for name in sorted(names):
            place = Path(folder, name)
            if place.is_file():
                yield place.relative_to(tree).as_posix()


def _file(tree: Path, path: str) -> File:
    fault = name_fault(path) or _encoding_fault(path)
    if fault:
        raise ArtifactError(str(tree), f"has a file whose name {fault}: {path!r}; rename it and build again")
    place = tree / path
    status = place.stat()
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    sha256, owner, content = sha256_of_file(place), path.partition("/")[0], DiskContent(place)
    return File(path=path, size=status.st_size, sha256=sha256, mode=mode, kind=Kind.OTHER, owner=owner, content=content)


def _encoding_fault(path: str) -> str | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None


def _drop(tree: Path, path: str) -> None:
    place = tree / path
    place.unlink()
    with suppress(OSError):  # up to the first folder that something is left in
        for folder in place.parents:
            if folder == tree:
                break
            folder.rmdir()


def _write(archive: zipfile.ZipFile, path: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    with archive.open(path) as source, place.open("xb") as sink:
        shutil.copyfileobj(source, sink)
    place.chmod(archive.getinfo(path).external_attr >> 16 & 0o777)
    os.utime(place, _LONG_AGO)
