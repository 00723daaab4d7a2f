"""Carry out the rewrites of one stage: from the cache, or by the optimizer, checked, and kept only if smaller and sound."""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from .cache import Cache, Entry, link_or_copy
from .canonical import digest, sha256_of_file
from .errors import StorageError, UnsoundResultError
from .model import DiskContent, File, Finding, Rewrite
from .optimizer import Context, Json, Optimizer, Task
from .progress import Progress
from .storage import storage_error
from .workspace import Workspace

_RESULT = "result"
_COMPANION = "companion-{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What came of one rewrite: the file as it is now, and, where that is the original, why it was kept."""

    file: File
    kept: str | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriter:
    """The rewrites of one stage.

    `identity` is whatever decides a result beside the file itself; `neighbours` are the files that must stand beside it so
    that a loader finds them.
    """

    optimizer: Optimizer[Any]
    identity: Json
    context: Context
    neighbours: Sequence[File]
    workspace: Workspace
    cache: Cache | None

    def run(self, rewrites: Iterable[tuple[Rewrite, File]], pool: Executor, progress: Progress) -> dict[str, Rewritten]:
        """Return what came of each rewrite, by path; the largest go first, so that no core waits for one at the end."""
        ordered = sorted(rewrites, key=lambda each: -each[1].size)
        found = dict(zip((file.path for _, file in ordered), pool.map(self._recall, ordered), strict=True))
        done = {path: result for path, result in found.items() if result is not None}
        progress.advance(len(done))
        missing = [(change, file) for change, file in ordered if file.path not in done]
        if missing:
            list(pool.map(self.workspace.local, self.neighbours))
        made = pool.map(partial(self._make, progress), missing)
        return done | dict(zip((file.path for _, file in missing), made, strict=True))

    def _key(self, change: Rewrite, file: File) -> str:
        return digest(["rewrite", self.identity, sys.platform, platform.machine(), file.sha256, change.key])

    def _recall(self, rewrite: tuple[Rewrite, File]) -> Rewritten | None:
        entry = self.cache.get(self._key(*rewrite)) if self.cache else None
        try:
            return self._restore(entry, rewrite[1]) if entry else None
        except FileNotFoundError:  # another build pruned the cache between the look and the grasp
            return None

    def _restore(self, entry: Entry, file: File) -> Rewritten:
        value = entry.value
        findings = tuple(Finding(**{**finding, "path": file.path}) for finding in value["findings"])
        if value["kept"] is not None:
            return Rewritten(file=file, kept=value["kept"], findings=findings)
        for place, path in entry.files.items():
            target = (
                self.workspace.results / value["sha256"] if place == _RESULT else self.workspace.companions / value["companions"][place]
            )
            _put(path, target)
        content = DiskContent(self.workspace.results / value["sha256"])
        return Rewritten(file=replace(file, size=value["size"], sha256=value["sha256"], content=content), findings=findings)

    def _make(self, progress: Progress, rewrite: tuple[Rewrite, File]) -> Rewritten:
        change, file = rewrite
        source = self.workspace.local(file)
        target = source.with_name(f".{source.name}.mlbundle")
        task = Task(file=file, source=source, target=target, companions=self.workspace.new_folder())
        try:
            return self._accept(change, task, self._attempt(task))
        except StorageError:
            raise
        except Exception as error:
            told = storage_error(error, task.target) if isinstance(error, OSError) else None
            if told:
                raise told from error
            return self._failed(file, error)
        finally:
            target.unlink(missing_ok=True)
            progress.advance()

    def _attempt(self, task: Task) -> str | None:
        """Write the target and check it; return why the original is to be kept, None where the target is good."""
        self.optimizer.rewrite(task, self.context)
        if not task.target.exists():
            return "nothing to gain"
        if task.target.stat().st_size >= task.file.size:
            return "not smaller when rewritten"
        try:
            self.optimizer.check(task, self.context)
        except UnsoundResultError as error:
            return f"not sound when rewritten: {error}"
        return None

    def _accept(self, change: Rewrite, task: Task, kept: str | None) -> Rewritten:
        """Put the result into the cache and the workspace; then go the same way as a result found in the cache."""
        findings = [self._unsound(kept)] if kept and kept.startswith("not sound") else []
        value: dict[str, Any] = {"kept": kept, "findings": [asdict(each) for each in findings]}
        files: dict[str, Path] = {}
        if kept is None:
            companions = sorted(path for path in task.companions.rglob("*") if path.is_file())
            names = {_COMPANION.format(number): path for number, path in enumerate(companions)}
            value |= {"size": task.target.stat().st_size, "sha256": sha256_of_file(task.target)}
            value["companions"] = {name: path.relative_to(task.companions).as_posix() for name, path in names.items()}
            files = {_RESULT: task.target, **names}
        if self.cache:
            self.cache.put(self._key(change, task.file), value, files)
        return self._restore(Entry(value=value, files=files), task.file)

    def _unsound(self, kept: str) -> Finding:
        return Finding(code="MB103", message=f"{kept}; the original stays", optimizer=self.optimizer.name)

    def _failed(self, file: File, error: Exception) -> Rewritten:
        reason = f"{error}" if type(error).__module__.startswith("hatch_mlbundle") else f"{type(error).__name__}: {error}"
        finding = Finding(code="MB102", path=file.path, message=f"{reason}; the original stays", optimizer=self.optimizer.name)
        return Rewritten(file=file, kept=f"failed: {reason}", findings=(finding,))


def _put(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        unfinished = target.with_name(f".{target.name}.{threading.get_ident()}")
        link_or_copy(path, unfinished)
        unfinished.replace(target)
