"""What a command did, kept in a folder so that it can be compared: its output and the files it wrote."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.globs import matcher
from hatch_mlbundle.model import CHUNK
from hatch_mlbundle.storage import storage_errors

from .process import Bounds, Command, Wrap, run

FILES = "files"
"""The folder, beside `stdout` and `stderr`, with the files that were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file that a command wrote: its bytes and their SHA-256; of a symbolic link, those of its target's name."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a command did. `folder` holds `stdout`, `stderr` and, under `files`, the files written, which `files` names by their paths
    in the working folder; `status`, `overrun`, `seconds`, `peak_memory` and `left` are those of process.Ended; `output` is the SHA-256
    of its standard output.
    """

    folder: Path
    status: int | None
    overrun: str | None
    output: str
    files: Mapping[str, Written]
    seconds: float
    peak_memory: int
    left: int = 0

    @property
    def stdout(self) -> Path:
        """Its standard output."""
        return self.folder / "stdout"

    @property
    def stderr(self) -> Path:
        """Its standard error."""
        return self.folder / "stderr"


def observe(command: Command, bounds: Bounds, into: Path, *, files: Sequence[str] = (), wrap: Wrap | None = None) -> Observation:
    """Run a command, and keep in the folder `into` its output and those files of its working folder that match the globs `files`.

    Raises what process.run raises, and StorageError where the files cannot be kept.
    """
    ended = run(command, bounds, into, wrap)
    with storage_errors(into):
        written = _keep(command.folder, into / FILES, files)
        output = _digest(ended.stdout)
    return Observation(
        folder=into,
        status=ended.status,
        overrun=ended.overrun,
        output=output,
        files=written,
        seconds=ended.seconds,
        peak_memory=ended.peak_memory,
        left=ended.left,
    )


def _keep(folder: Path, into: Path, globs: Sequence[str]) -> dict[str, Written]:
    """Copy the files that match, and return them by their paths in the folder."""
    if into.exists():
        shutil.rmtree(into)
    into.mkdir()
    if not globs:
        return {}
    matches = matcher(globs)
    found = {}
    for path in _files_below(folder):
        name = path.relative_to(folder).as_posix()
        if matches(name):
            copy = into / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy, follow_symlinks=False)
            found[name] = _state(copy)
    return dict(sorted(found.items()))


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files and symbolic links below a folder; pipes and sockets cannot be compared."""
    for parent, folders, names in os.walk(folder):
        for name in [*names, *folders]:
            path = Path(parent, name)
            if path.is_symlink() or (path.is_file() and name in names):
                yield path


def _state(path: Path) -> Written:
    if path.is_symlink():
        target = os.fsencode(path.readlink())
        return Written(size=len(target), sha256=hashlib.sha256(target).hexdigest())
    return Written(size=path.stat().st_size, sha256=_digest(path))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
