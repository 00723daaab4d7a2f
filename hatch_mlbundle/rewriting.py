"""Carry out the rewrites of one stage: from the cache, or by the optimizer, checked, and kept only if smaller and sound."""

from __future__ import annotations

import platform
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .cache import Cache, Entry, link_or_copy
from .canonical import digest, sha256_of_file
from .errors import KeptError, MlbundleError, StorageError, UnsoundResultError
from .model import DiskContent, File, Finding, Rewrite
from .optimizer import Context, Json, Judge, Optimizer, Task
from .progress import Progress
from .storage import fatal_storage_error, storage_errors
from .workspace import Workspace

_RESULT = "result"
_COMPANION = "companion-{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What came of one rewrite: the file as it is now, and, where that is the original, why it was kept.

    `companions` are files that belong beside the artifact, by their names there.
    """

    file: File
    kept: str | None = None
    findings: tuple[Finding, ...] = ()
    companions: Mapping[str, Path] = field(default_factory=dict)


class _TaskContext:
    """The stage's Context as one task sees it: findings are the task's own, and examining happens on the spot.

    Findings must come in the order of the plan, and out of the cache as they came before; and a task that waited for the
    threads that it runs on itself would wait for ever.
    """

    def __init__(self, stage: Context, optimizer: str) -> None:
        self._stage = stage
        self._optimizer = optimizer
        self.findings: list[Finding] = []

    @property
    def judge(self) -> Judge | None:
        return self._stage.judge

    def selects(self, path: str) -> bool:
        return self._stage.selects(path)

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        return {file.path: examiner(file) for file in files}

    def local(self, file: File) -> Path:
        return self._stage.local(file)

    def report(self, finding: Finding) -> None:
        self.findings.append(replace(finding, optimizer=self._optimizer))


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

    def run(self, rewrites: Sequence[tuple[Rewrite, File]], pool: Executor, progress: Progress) -> dict[str, Rewritten]:
        """Return what came of each rewrite, by path; the largest go first, so that no core waits for one at the end."""
        ordered = sorted(rewrites, key=lambda each: -each[1].size)
        found = dict(zip((file.path for _, file in ordered), pool.map(self._recall, ordered), strict=True))
        done = {path: result for path, result in found.items() if result is not None}
        progress.advance(len(done))
        missing = [(change, file) for change, file in ordered if file.path not in done]
        if missing:
            list(pool.map(self.workspace.local, self.neighbours))
        made = pool.map(partial(self._make, progress), missing)
        done |= dict(zip((file.path for _, file in missing), made, strict=True))
        return {file.path: self._place_companions(done[file.path]) for _, file in rewrites}

    def _key(self, change: Rewrite, file: File) -> str:
        return digest(["rewrite", self.identity, sys.platform, platform.machine(), file.sha256, change.key])

    def _recall(self, rewrite: tuple[Rewrite, File]) -> Rewritten | None:
        entry = self.cache.get(self._key(*rewrite)) if self.cache else None
        try:
            with storage_errors(self.workspace.results):
                return self._restore(entry, rewrite[1]) if entry else None
        except FileNotFoundError:  # another build pruned the cache between the look and the grasp
            return None

    def _restore(self, entry: Entry, file: File) -> Rewritten:
        """Take a result's files into the workspace."""
        value = entry.value
        findings = tuple(Finding(**{**finding, "path": file.path}) for finding in value["findings"])
        if value["kept"] is not None:
            return Rewritten(file=file, kept=value["kept"], findings=findings)
        result = self.workspace.results / value["sha256"]
        _link(entry.files[_RESULT], result)
        folder = self.workspace.new_folder()
        companions = {}
        for place, name in value["companions"].items():
            companions[name] = folder / place
            link_or_copy(entry.files[place], companions[name])
        after = replace(file, size=value["size"], sha256=value["sha256"], content=DiskContent(result))
        return Rewritten(file=after, findings=findings, companions=companions)

    def _make(self, progress: Progress, rewrite: tuple[Rewrite, File]) -> Rewritten:
        change, file = rewrite
        source = self.workspace.local(file)
        target = source.with_name(f".{source.name}.mlbundle")
        task = Task(file=file, source=source, target=target, companions=self.workspace.new_folder())
        context = _TaskContext(self.context, self.optimizer.name)
        try:
            kept = self._attempt(task, context)
            return self._accept(change, task, kept, context.findings)
        except KeptError as error:
            return Rewritten(file=file, kept=str(error), findings=tuple(context.findings))
        except UnsoundResultError as error:  # not cached: it may be for the want of a neighbour
            return self._refused(file, "MB103", f"not sound when rewritten: {error}", context.findings)
        except StorageError:
            raise
        except Exception as error:
            fatal = fatal_storage_error(error, task.target)
            if fatal:
                raise fatal from error
            reason = str(error) if isinstance(error, MlbundleError) else f"{type(error).__name__}: {error}"
            return self._refused(file, "MB102", f"failed: {reason}", context.findings)
        finally:
            _remove(target)
            progress.advance()

    def _attempt(self, task: Task, context: Context) -> str | None:
        """Write the target and check it; return why the original is to be kept, None where the target is good."""
        self.optimizer.rewrite(task, context)
        if not task.target.exists():
            return "nothing to gain"
        if task.target.stat().st_size >= task.file.size:
            return "not smaller when rewritten"
        self.optimizer.check(task, context)
        return None

    def _accept(self, change: Rewrite, task: Task, kept: str | None, findings: list[Finding]) -> Rewritten:
        """Put the result into the cache and the workspace, the same way as a result found in the cache."""
        value: dict[str, Any] = {"kept": kept, "findings": [asdict(each) for each in findings]}
        files: dict[str, Path] = {}
        if kept is None:
            companions = sorted(path for path in task.companions.rglob("*") if path.is_file())
            names = {_COMPANION.format(number): path for number, path in enumerate(companions)}
            value |= {"size": task.target.stat().st_size, "sha256": sha256_of_file(task.target)}
            value["companions"] = {name: path.relative_to(task.companions).as_posix() for name, path in names.items()}
            files = {_RESULT: task.target, **names}
        if self.cache:
            self.cache.put(self._key(change, task.file), value, files, {_RESULT: value["sha256"]} if kept is None else None)
        return self._restore(Entry(value=value, files=files), task.file)

    def _refused(self, file: File, code: str, kept: str, findings: list[Finding]) -> Rewritten:
        finding = Finding(code=code, path=file.path, message=f"{kept}; the original stays", optimizer=self.optimizer.name)
        return Rewritten(file=file, kept=kept, findings=(*findings, finding))

    def _place_companions(self, result: Rewritten) -> Rewritten:
        """Put companions where the artifact's are gathered, one file's after the other's, so that the plan's first one wins."""
        findings = list(result.findings)
        for name, path in result.companions.items():
            target = self.workspace.companions / name
            if target.exists() and sha256_of_file(target) != sha256_of_file(path):
                message = f"its companion {name} has the name of another file's, which stays"
                findings.append(Finding(code="MB105", path=result.file.path, message=message, optimizer=self.optimizer.name))
            elif not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, target)
        return replace(result, findings=tuple(findings))


def _link(path: Path, target: Path) -> None:
    """Give a file a second name that another thread may be giving to the same bytes right now."""
    if not target.exists():
        unfinished = target.with_name(f".{target.name}.{threading.get_ident()}")
        link_or_copy(path, unfinished)
        unfinished.replace(target)
        unfinished.unlink(missing_ok=True)  # POSIX: renaming onto another name of the same file leaves both


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
