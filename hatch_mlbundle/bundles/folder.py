"""A folder as a bundle: a virtual environment's site-packages, a frozen application, any tree."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from pathlib import Path

from hatch_mlbundle.bundles.artifact import Account, Side, Written
from hatch_mlbundle.bundles.atomic_folder import recover, replace_folder
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.folder_scan import Stamp, find_owners, list_tree, parents, scan_files, stamp_of
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Bundle, Change, File
from hatch_mlbundle.optimizer import ArtifactKind
from hatch_mlbundle.storage import storage_errors


class FolderArtifact:
    """A folder open as an artifact. `pool` hashes and copies its files; `owner_of` tells whose a file is, RECORDs where it is None.

    A folder that is `ours` is nobody else's: what is made of it may share its files, and take the place of an earlier result.
    """

    kind: ArtifactKind = "folder"

    def __init__(self, path: Path, pool: Executor, owner_of: Callable[[str], str] | None = None, *, ours: bool = False) -> None:
        self._path = path.resolve()
        self._pool = pool
        self._owner_of = owner_of
        self._ours = ours
        recover(self._path)
        self._listing = list_tree(self._path)
        self._scanned = Bundle()
        self._stamps: dict[str, Stamp] = {}

    def scan(self) -> Side:
        """Return the files, hashed on all cores; raises ArtifactError where one cannot be read."""
        files = self._listing.files
        owners = {path: self._owner_of(path) for path in files} if self._owner_of else find_owners(self._path, files)
        found = list(scan_files(self._path, files, owners, self._pool))
        self._scanned = Bundle(file for file, _ in found)
        self._stamps = {file.path: stamp for file, stamp in found}
        return plain_side(self._scanned)

    def refuses(self, change: Change) -> str | None:
        """Return None: a folder can have any change."""
        return None

    def on_disk(self, bundle: Bundle) -> Bundle:
        """Return the files: they lie as they are."""
        return bundle

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> Iterator[Written]:
        """Write the tree under a temporary name beside `target`, which is this folder itself or a place still free.

        Files that did not change are hard links to the old ones where the target is this folder itself, else copies. Raises
        ArtifactError where the target is neither, and where the folder is no longer what was scanned.
        """
        target = target.resolve()
        recover(target)  # first: what a killed process moved aside is no free place
        if self._ours:
            check_replaceable(target)
        else:
            check_target(self._path, target)
        shared = self._ours or target.exists()
        with replace_folder(target) as partial:
            self._write_tree(bundle, partial, linking=shared)
            if shared and list_tree(self._path) != self._listing:
                raise _changed(self._path)
            yield Written(side=plain_side(bundle), path=partial)

    def _write_tree(self, bundle: Bundle, root: Path, *, linking: bool) -> None:
        root.mkdir()
        kept = {folder for path in bundle for folder in parents(path)} | self._listing.empty_folders()
        for folder in sorted(kept):
            (root / folder).mkdir(parents=True, exist_ok=True)
        _do_all(self._pool, lambda file: self._write_file(file, root / file.path, linking=linking), bundle.values())
        for folder in sorted(kept & set(self._listing.folders), reverse=True):
            (root / folder).chmod(self._listing.folders[folder])
        root.chmod(stat.S_IMODE(self._path.stat().st_mode))

    def _write_file(self, file: File, target: Path, *, linking: bool) -> None:
        source, original = self._path / file.path, self._scanned.get(file.path)
        if file.link is not None:
            target.symlink_to(file.link)
        elif linking and file == original and _link(source, target):
            if stamp_of(target.lstat()) != self._stamps[file.path]:
                raise _changed(source)
        else:
            try:
                if file == original:
                    self._copy_unchanged(file, source, target)
                else:
                    _copy(file, target)
                if original is not None and original.link is None:
                    shutil.copystat(source, target)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise _changed(source) from error
            target.chmod(file.mode)

    def _copy_unchanged(self, file: File, source: Path, target: Path) -> None:
        """Copy in the kernel, without a second look at the bytes: the file's stamp says that they are those that were hashed."""
        shutil.copyfile(source, target)
        if stamp_of(source.lstat()) != self._stamps[file.path]:
            raise _changed(source)


def check_target(source: Path, target: Path) -> None:
    """See whether the result of optimizing the folder `source` may go to `target`: `source` itself, or a free place outside of it.

    Raises ArtifactError where it would overwrite something, and where it could not take its place; StorageError.
    """
    source, target = source.resolve(), target.resolve()
    with storage_errors(target):
        if not target.exists():
            if any(folder.exists() and folder.samefile(source) for folder in target.parents):
                raise ArtifactError(str(target), f"is inside {source}, the folder to be read; choose a place outside of it")
        elif not target.samefile(source):
            raise ArtifactError(str(target), "is there already; remove it or choose another name")
        else:
            check_replaceable(target)


def check_replaceable(target: Path) -> None:
    """See whether another folder can take the place of this one, if it is there; raises ArtifactError where it cannot."""
    if target.is_mount():
        raise ArtifactError(str(target), "is a mount point, which nothing can replace; put the result elsewhere with --output")
    if target.exists() and _holds_us(target):
        raise ArtifactError(str(target), "holds the current folder, which would be gone; run from outside of it, or use --output")


def tree_digest(bundle: Bundle) -> str:
    """Return the SHA-256, in hex, of each file in sorted order: hash, mode in octal, path; for a link `->`, its target, path.

    A NUL byte, which no name can hold, ends each of them. The mode of a link is the system's own affair and does not count.
    """
    digest = hashlib.sha256()
    for path in sorted(bundle):
        file = bundle[path]
        fields = (file.sha256, f"{file.mode:o}", path) if file.link is None else ("->", file.link, path)
        digest.update("".join(f"{field}\0" for field in fields).encode(errors="surrogateescape"))
    return digest.hexdigest()


def plain_side(bundle: Bundle) -> Side:
    """Return a folder with these files: it compresses nothing, and has no bytes but theirs."""
    return Side(bundle=bundle, account=Account(size=bundle.size, sha256=tree_digest(bundle), structure=0, compressed=None))


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(str(path), "changed while mlbundle worked on it; run it again when nothing else writes there")


def _holds_us(folder: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(folder)
    except FileNotFoundError:  # gone already
        return False


def _do_all(pool: Executor, work: Callable[[File], None], files: Iterable[File]) -> None:
    """Do the work for each file; where one fails, begin no other, and wait for those begun: they still write."""
    jobs = [pool.submit(work, file) for file in files]
    try:
        for job in jobs:
            job.result()
    finally:
        for job in jobs:
            job.cancel()
        wait(jobs)


def _copy(file: File, target: Path) -> None:
    """Write a new file; raises ArtifactError where the bytes are no longer those that were hashed."""
    digest = hashlib.sha256()
    with target.open("xb") as stream:
        for chunk in file.content.chunks():
            digest.update(chunk)
            stream.write(chunk)
    if digest.hexdigest() != file.sha256:
        raise _changed(file.content.local_path() or Path(file.path))


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise
        return False
    return True
