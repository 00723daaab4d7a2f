"""Where an optimizer writes its result before anybody believes in it: one file beside its source, or several in a folder of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from .apart import is_plain, sealed
from .bundles.pyz import size_in_bundle
from .claims import checked_details
from .errors import UnsoundResultError
from .model import Convert, File, Rewrite
from .optimizer import Context, ConvertTask, Detail, Optimizer, Task
from .printable import printable
from .workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A Rewrite or Convert, the files that it makes anew, and those that it only reads."""

    change: Rewrite | Convert
    sources: tuple[File, ...]
    reads: tuple[File, ...] = ()

    @property
    def model(self) -> File:
        """The file whose mode and owner new ones get."""
        return (*self.sources, *self.reads)[0]

    @property
    def size(self) -> int:
        """Bytes of the sources."""
        return sum(file.size for file in self.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken from a draft: the files made, by their paths in the bundle, what is said of them, and the companions, by name."""

    outputs: Mapping[str, Path]
    details: Mapping[str, Detail]
    companions: Mapping[str, Path]


class Draft(Protocol):
    """The result of one piece of work, not yet accepted. `place` is where it is written, `companions` a folder for what goes beside it."""

    place: Path
    companions: Path
    details: Mapping[str, Detail]

    def make(self, optimizer: Optimizer[Any], context: Context) -> str | None:
        """Write the result and check it; return why the originals are to be kept, None where it is good. Raises as the optimizer does."""

    def outputs(self) -> dict[str, Path]:
        """Return the files made, by their paths in the bundle."""

    def discard(self) -> None:
        """Remove what was written, unless it was linked elsewhere."""


def outputs_of(change: Rewrite | Convert) -> tuple[str, ...]:
    """Return the paths in the bundle that a change may write."""
    return (change.path,) if isinstance(change, Rewrite) else change.outputs


def draft_of(work: Work, workspace: Workspace) -> Draft:
    """Return an empty draft, its sources laid out on disk; raises StorageError."""
    return _Several(work, work.change, workspace) if isinstance(work.change, Convert) else _One(work, workspace)


def taken_from(draft: Draft) -> Taken:
    """Take all of a draft, which must be left as it is from now on; raises UnsoundResultError."""
    return Taken(outputs=draft.outputs(), details=draft.details, companions=_companions(draft.companions))


def sealed_from(draft: Draft, work: Work, folder: Path) -> Taken:
    """Take copies of a draft into `folder`: whoever made it may have its files open still. Raises UnsoundResultError, ClaimError."""
    name = hashlib.sha256(work.change.path.encode(errors="surrogateescape")).hexdigest()
    places = (folder / f"{name}-{number}" for number in count())
    taken = taken_from(draft)
    outputs = {path: sealed(made, next(places)) for path, made in taken.outputs.items()}
    companions = {each: sealed(made, next(places)) for each, made in taken.companions.items()}
    if not getattr(work.change, "may_grow", False) and _size(outputs) >= work.size:
        raise UnsoundResultError("it grew after it was made")
    return Taken(outputs=outputs, details=checked_details(taken.details, outputs), companions=companions)


def _companions(folder: Path) -> dict[str, Path]:
    """Return the files in the folder by their names in it, sorted; raises UnsoundResultError for what is none."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()}
    if odd := [name for name, path in found.items() if not is_plain(path)]:
        raise UnsoundResultError(f"its companion {printable(odd[0])} is no plain file")
    return found


def _size(made: Mapping[str, Path]) -> int:
    """Return the bytes that files on disk count for at these paths of the bundle."""
    return sum(size_in_bundle(path, place) for path, place in made.items())


class _One:
    """A file made anew: written beside its source, where a library finds its neighbours."""

    def __init__(self, work: Work, workspace: Workspace) -> None:
        (file,) = work.sources
        source = workspace.local(file)
        self.place = source.with_name(f".{source.name}.mlbundle")
        self.companions = workspace.new_folder()
        self.details: Mapping[str, Detail] = {}
        self._task = Task(file=replace(file), source=source, target=self.place, companions=self.companions)

    def make(self, optimizer: Optimizer[Any], context: Context) -> str | None:
        detail = optimizer.rewrite(self._task, context)
        if not os.path.lexists(self.place):
            return "nothing to gain"
        if not is_plain(self.place):
            raise UnsoundResultError("it made what is no plain file")
        if size_in_bundle(self._task.file.path, self.place) >= self._task.file.size:
            return "not smaller when rewritten"
        optimizer.check(self._task, context)
        self.details = {} if detail is None else {self._task.file.path: detail}
        return None

    def outputs(self) -> dict[str, Path]:
        return {self._task.file.path: self.place}

    def discard(self) -> None:
        if self.place.is_dir() and not self.place.is_symlink():
            shutil.rmtree(self.place, ignore_errors=True)
        else:
            with suppress(OSError):
                self.place.unlink()


class _Several:
    """Files made out of others: written into a folder that is laid out as the bundle is."""

    def __init__(self, work: Work, change: Convert, workspace: Workspace) -> None:
        self.place = workspace.new_folder()
        self.companions = workspace.new_folder()
        self.details: Mapping[str, Detail] = {}
        self._change, self._size = change, work.size
        sources = {file.path: workspace.local(file) for file in (*work.sources, *work.reads)}
        self._task = ConvertTask(change=change, sources=sources, target=self.place, scratch=workspace.new_folder())

    def make(self, optimizer: Optimizer[Any], context: Context) -> str | None:
        self.details = optimizer.convert(self._task, context)
        made = self.outputs()
        if strange := self._written() - made.keys():
            problem = "is no plain file" if min(strange) in self._change.outputs else "it did not plan"
            raise UnsoundResultError(f"it wrote {printable(min(strange))}, which {problem}")
        if not made:
            return "nothing to gain"
        if not self._change.may_grow and _size(made) >= self._size:
            return "not smaller when converted"
        return None

    def outputs(self) -> dict[str, Path]:
        return {path: self.place / path for path in self._change.outputs if is_plain(self.place / path)}

    def discard(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.rmtree(self._task.scratch, ignore_errors=True)

    def _written(self) -> set[str]:
        return {path.relative_to(self.place).as_posix() for path in self.place.rglob("*") if not path.is_dir() or path.is_symlink()}
