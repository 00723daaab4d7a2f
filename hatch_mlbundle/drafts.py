"""Where an optimizer writes its result before anybody believes in it: one file beside its source, or several in a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .bundles.pyz import size_in_bundle
from .errors import UnsoundResultError
from .model import Convert, File, Rewrite
from .optimizer import Context, ConvertTask, Detail, Optimizer, Task
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


class _One:
    """A file made anew: written beside its source, where a library finds its neighbours."""

    def __init__(self, work: Work, workspace: Workspace) -> None:
        (file,) = work.sources
        source = workspace.local(file)
        self.place = source.with_name(f".{source.name}.mlbundle")
        self.companions = workspace.new_folder()
        self.details: Mapping[str, Detail] = {}
        self._task = Task(file=file, source=source, target=self.place, companions=self.companions)

    def make(self, optimizer: Optimizer[Any], context: Context) -> str | None:
        detail = optimizer.rewrite(self._task, context)
        if not self.place.exists():
            return "nothing to gain"
        if size_in_bundle(self._task.file.path, self.place) >= self._task.file.size:
            return "not smaller when rewritten"
        optimizer.check(self._task, context)
        self.details = {} if detail is None else {self._task.file.path: detail}
        return None

    def outputs(self) -> dict[str, Path]:
        return {self._task.file.path: self.place}

    def discard(self) -> None:
        if self.place.is_dir() and not self.place.is_symlink():
            shutil.rmtree(self.place)
        else:
            self.place.unlink(missing_ok=True)


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
        if not made:
            return "nothing to gain"
        if strange := self._written() - made.keys():
            raise UnsoundResultError(f"it wrote {min(strange)}, which it did not plan")
        if not self._change.may_grow and sum(size_in_bundle(path, place) for path, place in made.items()) >= self._size:
            return "not smaller when converted"
        return None

    def outputs(self) -> dict[str, Path]:
        return {path: self.place / path for path in self._change.outputs if _is_file(self.place / path)}

    def discard(self) -> None:
        shutil.rmtree(self.place)
        shutil.rmtree(self._task.scratch)

    def _written(self) -> set[str]:
        return {path.relative_to(self.place).as_posix() for path in self.place.rglob("*") if not path.is_dir() or path.is_symlink()}


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
