"""A one-file executable of PyInstaller as a bundle: what it unpacks when it starts, and its modules."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Account, Side, Written
from hatch_mlbundle.bundles.carchive import BINARY, EXTRACTED, SYMLINK, Entry, content_of
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.executable import Executable, find_executable
from hatch_mlbundle.bundles.frozen_owner import check_names, frozen_owner
from hatch_mlbundle.bundles.joined import RangeContent, examined, sha256_of
from hatch_mlbundle.bundles.member_names import clash, name_fault
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.bundles.unpacking import UnpackingContent
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.errors import ArtifactError, UnsoundResultError
from hatch_mlbundle.identify import identify
from hatch_mlbundle.model import Bundle, Change, Content, DiskContent, File, Kind, MemoryContent
from hatch_mlbundle.optimizer import ArtifactKind

_LONGEST_LINK = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class OneFileArtifact:
    """A one-file executable open for reading; `pool` unpacks and hashes its entries, within `limits`.

    Native files and models are left unpacked in `folder`, an empty one, where there is one.
    """

    executable: Executable
    pool: Executor
    limits: Limits
    folder: Path | None = None
    kind: ArtifactKind = "frozen"

    def scan(self) -> Side:
        """Return the files and modules, each unpacked and hashed once; raises ArtifactError where one is damaged or hostile."""
        executable = self.executable
        files, modules = self.unpacked(), executable.files(self.pool)
        compressed = {file.path: entry.stored for file, entry in zip(files, self._entries(), strict=True)}
        compressed |= {file.path: file.size for file in modules}
        bundle = Bundle([*files, *modules])
        whole = RangeContent(executable.file, 0, executable.file.size)
        account = Account(
            size=executable.file.size,
            sha256=sha256_of(whole),
            structure=executable.file.size - sum(compressed.values()),
            compressed=compressed,
        )
        return Side(bundle=bundle, account=account)

    def refuses(self, change: Change) -> str | None:
        """Refuse any change."""
        return "a one-file executable is read only"

    def on_disk(self, bundle: Bundle) -> None:
        """Return None: nothing is unpacked."""

    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> AbstractContextManager[Written]:
        """Raise ArtifactError."""
        raise self.refusal()

    def refusal(self) -> ArtifactError:
        """Return the error that says why nothing can be written: PyInstaller's folder is what can be made smaller, and then packed."""
        advice = "build one folder and let `one-file = true` pack it, or add the two lines to its spec file (docs/frozen.md)"
        return self.executable.file.fault(f"is a one-file executable, which can be analyzed only; {advice}")

    def unpacked(self) -> list[File]:
        """Return what the executable unpacks when it starts; raises ArtifactError where something of it is damaged or hostile."""
        return list(self.pool.map(self._file, self._entries()))

    def _entries(self) -> list[Entry]:
        return unpacked_entries(self.executable, self.limits)

    def _file(self, entry: Entry) -> File:
        path, content = path_of(entry), content_of(self.executable.file, entry, entry.size)
        link = _link(content) if entry.type == SYMLINK else None
        content = content if link is None else MemoryContent(b"")
        reading = UnpackingContent(content, path, self.folder / str(entry.offset)) if self.folder else content
        size, sha256, head = examined(reading)
        if link is None and size != entry.size:
            raise self.executable.file.damaged(f"has an entry {entry.name!a} that unpacks to {size:,} bytes, not {entry.size:,}")
        place = reading.local_path()
        return File(
            path=path,
            size=size,
            sha256=sha256,
            mode=0o755 if entry.type == BINARY else 0o644,
            kind=identify(path, head) if link is None else Kind.LINK,
            owner=frozen_owner(path, ""),
            content=DiskContent(place) if place else content,
            link=link,
        )


def one_file_executable(file: SharedFile) -> Executable:
    """Return the one-file executable in an open file; raises ArtifactError where it is none."""
    executable = find_executable(file, file.path.name)
    if executable is None:
        raise file.fault("is neither a wheel (.whl), a folder, a container image nor an executable that PyInstaller made")
    if not executable.archive.is_one_file:
        raise file.fault("is the executable of a one-folder bundle; name the folder that it lies in")
    return executable


def unpacked_entries(executable: Executable, limits: Limits) -> list[Entry]:
    """Return the entries that are unpacked when the executable starts; raises ArtifactError where their names or sizes are hostile."""
    entries = [entry for entry in executable.archive.entries if entry.type in EXTRACTED]
    file = executable.file
    for entry in entries:
        fault = name_fault(path_of(entry))
        if fault:
            raise file.fault(f"unpacks {entry.name!a}: the name {fault}")
        if entry.type == SYMLINK and entry.size > _LONGEST_LINK:
            raise file.fault(f"unpacks {entry.name!a}, a link with a target of {entry.size:,} bytes")
    problem = clash(path_of(entry) for entry in entries)
    if problem:
        raise file.fault(problem)
    check_names(path_of(entry) for entry in entries)
    unpacked = sum(entry.size for entry in entries)
    if unpacked > limits.max_size or unpacked > max(file.size * limits.max_ratio, 100 * 10**6):
        raise file.fault(f"unpacks to {unpacked:,} bytes, more than `limits` allows")
    return entries


def path_of(entry: Entry) -> str:
    """Return the path in the bundle of what an entry unpacks to."""
    return entry.name.replace("\\", "/")


def _link(content: Content) -> str:
    return b"".join(content.chunks()).rstrip(b"\0").decode("utf-8", "surrogateescape")


def check_one_file(path: Path, executable: Executable, plain: Bundle, pool: Executor) -> None:
    """Unpack a one-file executable in memory and compare it with the folder that it was made from; raises UnsoundResultError."""
    prefix = f"{executable.archive.contents_folder}/" if executable.archive.contents_folder else ""
    wanted = {name.removeprefix(prefix): (file.sha256, file.link) for name, file in plain.items() if name != executable.path}
    try:
        with closing(SharedFile(path)) as file:
            packed = find_executable(file, executable.path)
            if packed is None:
                raise UnsoundResultError(f"{executable.path}: is no PyInstaller executable once packed")
            unbounded = Limits(max_ratio=1 << 20, max_size=1 << 40)
            files = OneFileArtifact(executable=packed, pool=pool, limits=unbounded).unpacked()
    except ArtifactError as error:
        raise UnsoundResultError(f"{executable.path}: cannot be read once packed: {error.problem}") from error
    found = {file.path: (file.sha256, file.link) for file in files}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise UnsoundResultError(f"{executable.path}: {name} is missing or differs once packed")
