"""A temporary folder in which files of a bundle stand on disk, laid out as the bundle is, for tools that need a path."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from .model import Bundle, File
from .storage import storage_errors

_PREFIX = "mlbundle-workspace-"

_ABANDONED = 24 * 3600.0
"""Seconds after which a workspace in which nothing changed is taken for a killed build's."""


@contextmanager
def temporary_workspace() -> Iterator[Workspace]:
    """Give a workspace in the system's temporary folder that is gone afterwards; raises StorageError."""
    folder = Path(tempfile.gettempdir())
    _sweep(folder)
    with storage_errors(folder):
        root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        yield Workspace(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove workspaces that nobody has touched for long: a killed build leaves its own behind."""
    for root in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            ages = (time.time() - path.lstat().st_mtime for path in chain([root], root.iterdir()))
            if all(age > _ABANDONED for age in ages) and not root.is_symlink():  # the first young one settles it: there may be thousands
                shutil.rmtree(root, ignore_errors=True)


class Workspace:
    """Folders below `root`, an empty folder.

    `tree` mirrors the bundle as far as somebody asked for files of it; `results` holds rewritten files by their SHA-256;
    `companions` collects the files that belong beside the artifact.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._present: dict[str, tuple[str, str | None]] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self.tree, self.results, self.companions = (root / name for name in ("tree", "results", "companions"))
        with storage_errors(root):
            for folder in (self.tree, self.results, self.companions):
                folder.mkdir()

    def local(self, file: File) -> Path:
        """Return the path in `tree` that holds the file's bytes now; raises StorageError where the disk is full."""
        path = self.tree / file.path
        with self._lock(file.path), storage_errors(path):
            if self._present.get(file.path) != _state(file):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                self._lay(file, path)
                self._present[file.path] = _state(file)
        return path

    def follow(self, bundle: Bundle) -> None:
        """Take out of `tree` what the bundle no longer has, or has otherwise: a loader must not find it there."""
        for path, state in list(self._present.items()):
            file = bundle.get(path)
            if file is None or _state(file) != state:
                (self.tree / path).unlink(missing_ok=True)
                del self._present[path]

    def found_companions(self) -> list[tuple[str, Path]]:
        """Return the companions by their names beside the artifact, sorted."""
        paths = sorted(path for path in self.companions.rglob("*") if path.is_file())
        return [(path.relative_to(self.companions).as_posix(), path) for path in paths]

    def new_folder(self) -> Path:
        """Return a new empty folder that lives as long as the workspace; raises StorageError."""
        with storage_errors(self.root):
            return Path(tempfile.mkdtemp(dir=self.root))

    def _lay(self, file: File, path: Path) -> None:
        """Let the file's bytes be at `path`, a free name."""
        original = file.content.local_path()
        if file.link is not None:
            path.symlink_to(file.link)
        elif original is not None:
            path.symlink_to(original.absolute())
        else:
            with path.open("xb") as stream:
                for chunk in file.content.chunks():
                    stream.write(chunk)
            os.chmod(path, file.mode | 0o600)  # noqa: PTH101 - Path.chmod would need the same bits and follow links

    def _lock(self, path: str) -> threading.Lock:
        with self._guard:
            return self._locks[path]


def _state(file: File) -> tuple[str, str | None]:
    return file.sha256, file.link
