"""An artifact's files by their sizes and names alone: nothing is hashed, and bytes are read only where a name does not tell the kind."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from hatch_mlbundle.bundles.folder_scan import find_owners, owner_of, unreadable, walk
from hatch_mlbundle.identify import HEAD, identify, identify_by_name
from hatch_mlbundle.manifest import FileRow, FileState
from hatch_mlbundle.model import Kind
from hatch_mlbundle.optimizer import ArtifactKind

if TYPE_CHECKING:
    from hatch_mlbundle.bundles.carchive import Entry
    from hatch_mlbundle.bundles.shared_file import SharedFile
    from hatch_mlbundle.bundles.zip_reader import Limits
    from hatch_mlbundle.model import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found: `size` bytes of the artifact's own, of which `structure` belong to no file; the files sorted by path.

    `packs` says whether they have compressed sizes.
    """

    kind: ArtifactKind
    size: int
    structure: int
    files: tuple[FileRow, ...]
    packs: bool


def survey(path: Path, *, max_ratio: int, max_size: int) -> Survey:
    """Return what is in the artifact at `path`, within [tool.mlbundle] `limits`; raises ArtifactError where it is damaged or hostile."""
    if path.is_dir():
        return survey_folder(path)
    from hatch_mlbundle.bundles.zip_reader import Limits

    limits = Limits(max_ratio=max_ratio, max_size=max_size)
    return survey_wheel(path, limits) if path.suffix == ".whl" else survey_one_file(path, limits)


def survey_folder(root: Path) -> Survey:
    """Return what is in a folder; of a frozen bundle, also the modules in its executables. Raises ArtifactError."""
    entries = sorted((path, entry) for path, entry in walk(root) if not entry.is_dir(follow_symlinks=False))
    owners = find_owners(root, (path for path, _ in entries))
    files: dict[str, FileRow] = {}
    for path, entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
            is_link = stat.S_ISLNK(status.st_mode)
            kind = Kind.LINK if is_link else _kind(path, partial(_head, entry.path))
        except OSError as error:
            raise unreadable(root / path, error) from error
        files[path] = _row(path, 0 if is_link else status.st_size, None, kind, owner_of(path, owners))
    return _with_modules(root, files)


def survey_wheel(path: Path, limits: Limits) -> Survey:
    """Return what a wheel's central directory lists; raises ArtifactError where it is damaged, hostile or no wheel's."""
    from hatch_mlbundle.bundles.wheel import WheelSource

    with WheelSource.open(path, limits=limits, allow_signed=True) as wheel:
        files = [
            _row(name, member.size, member.compressed_size, _kind(name, partial(_begin, member)), wheel.owner_of(name))
            for name, member in wheel.members.items()
        ]
        return Survey(kind="wheel", size=wheel.size, structure=wheel.structure_size, files=_sorted(files), packs=True)


def survey_one_file(path: Path, limits: Limits) -> Survey:
    """Return what a one-file executable's tables list; raises ArtifactError where it is damaged, hostile or no such executable."""
    from hatch_mlbundle.bundles.onefile import one_file_executable, unpacked_entries
    from hatch_mlbundle.bundles.shared_file import SharedFile

    with closing(SharedFile(path)) as file:
        executable = one_file_executable(file)
        files = [_entry_row(file, entry) for entry in unpacked_entries(executable, limits)]
        files += [_row(name, size, size, Kind.BYTECODE, owner) for name, size, owner in executable.module_sizes()]
        structure = file.size - sum(row.after.compressed or 0 for row in files if row.after)
        return Survey(kind="frozen", size=file.size, structure=structure, files=_sorted(files), packs=True)


def _entry_row(file: SharedFile, entry: Entry) -> FileRow:
    from hatch_mlbundle.bundles.carchive import SYMLINK, content_of
    from hatch_mlbundle.bundles.frozen_owner import frozen_owner
    from hatch_mlbundle.bundles.onefile import path_of

    path, is_link = path_of(entry), entry.type == SYMLINK
    kind = Kind.LINK if is_link else _kind(path, partial(_begin, content_of(file, entry, entry.size)))
    return _row(path, 0 if is_link else entry.size, entry.stored, kind, frozen_owner(path, ""))


def _with_modules(root: Path, files: dict[str, FileRow]) -> Survey:
    """Return a folder with the modules of its executables taken out of them, as it is where PyInstaller made none."""
    from hatch_mlbundle.bundles.executable import open_executables

    with open_executables(root) as executables:
        if not executables:
            return _plain("folder", files.values())
        from hatch_mlbundle.bundles.frozen_owner import check_names, frozen_owner

        check_names(files)
        contents = next(each.archive.contents_folder for each in executables.values())
        rows = [replace(row, owner=frozen_owner(row.path, contents)) for row in files.values() if row.path not in executables]
        for path, executable in executables.items():
            modules = [_row(name, size, None, Kind.BYTECODE, owner) for name, size, owner in executable.module_sizes()]
            rest = _size(files[path]) - sum(_size(module) for module in modules)
            rows += [_row(path, rest, None, Kind.FROZEN, "python"), *modules]
        return _plain("frozen", rows)


def _plain(kind: ArtifactKind, rows: Iterable[FileRow]) -> Survey:
    """Return an artifact that compresses nothing, and has no bytes but its files'."""
    files = _sorted(rows)
    return Survey(kind=kind, size=sum(map(_size, files)), structure=0, files=files, packs=False)


def _kind(path: str, head: Callable[[], bytes]) -> Kind:
    return identify_by_name(path) or identify(path, head())


def _head(place: str) -> bytes:
    with open(place, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path for each of many thousand files costs more than it reads
        return stream.read(HEAD)


def _begin(content: Content) -> bytes:
    """Return the first bytes of content; no more of it is unpacked."""
    return next(content.chunks(), b"")[:HEAD]


def _row(path: str, size: int, compressed: int | None, kind: Kind, owner: str) -> FileRow:
    state = FileState(size=size, compressed=compressed, sha256=None)
    return FileRow(path=path, kind=kind.value, owner=owner, before=state, after=state)


def _size(row: FileRow) -> int:
    return row.after.size if row.after else 0


def _sorted(rows: Iterable[FileRow]) -> tuple[FileRow, ...]:
    return tuple(sorted(rows, key=attrgetter("path")))
