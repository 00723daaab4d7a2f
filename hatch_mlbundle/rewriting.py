"""Carry out the rewrites and conversions of one stage: from the cache, or by the optimizer, checked, and kept only if they serve."""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .bundles.pyz import size_in_bundle
from .cache import Cache, Entry, link_or_copy
from .canonical import digest, sha256_of_file
from .claims import MOST_FINDINGS, checked_finding
from .drafts import Draft, Taken, Work, draft_of, outputs_of, sealed_from, taken_from
from .errors import DistrustError, KeptError, StorageError, UnsoundResultError
from .guard import Guard, error_line
from .identify import HEAD, identify
from .importpaths import is_in_pyz
from .judging import TellingJudge
from .model import DiskContent, File, Finding, Kind, Rewrite
from .optimizer import ArtifactKind, Context, Detail, Json, Judge, Optimizer
from .printable import printable
from .progress import Progress
from .sandbox import Sandbox
from .storage import fatal_storage_error, storage_errors
from .workspace import Workspace

NATIVE = (Kind.ELF, Kind.PE, Kind.MACHO)
"""What is loaded together with its neighbours."""

_RESULT = "result-{}"
_COMPANION = "companion-{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What came of one piece of work: the files it made, each with what the manifest says of it, or why the originals were kept.

    `companions` are files that belong beside the artifact, by their names there.
    """

    files: tuple[File, ...] = ()
    details: Mapping[str, Detail] = field(default_factory=dict)
    kept: str | None = None
    findings: tuple[Finding, ...] = ()
    companions: Mapping[str, Path] = field(default_factory=dict)


def add_finding(findings: list[Finding], finding: Finding, optimizer: str, guard: Guard) -> None:
    """Add what a step reports to its findings: of another distribution's, what can be told, and not without end."""
    if not guard.foreign:
        findings.append(replace(finding, optimizer=optimizer))
    elif len(findings) < MOST_FINDINGS:
        findings.append(replace(checked_finding(finding, guard), optimizer=optimizer))
    elif len(findings) == MOST_FINDINGS:
        findings.append(Finding(code="MB126", message=guard.named(f"reported more than {MOST_FINDINGS:,} findings"), optimizer=optimizer))


class _TaskContext:
    """The stage's Context as one task sees it: findings are the task's own, and examining happens on the spot.

    Findings must come in the order of the plan, and out of the cache as they came before; and a task that waited for the
    threads that it runs on itself would wait for ever.
    """

    def __init__(self, stage: Context, optimizer: str, path: str, guard: Guard) -> None:
        self._stage = stage
        self._optimizer = optimizer
        self._guard = guard
        self._judge = TellingJudge(judge=stage.judge, path=path, report=self.report) if stage.judge else None
        self.findings: list[Finding] = []

    @property
    def judge(self) -> Judge | None:
        return self._judge

    @property
    def artifact(self) -> ArtifactKind:
        return self._stage.artifact

    def selects(self, path: str) -> bool:
        return self._stage.selects(path)

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        return {file.path: examiner(file) for file in files}

    def local(self, file: File) -> Path:
        return self._stage.local(file)

    def report(self, finding: Finding) -> None:
        add_finding(self.findings, finding, self._optimizer, self._guard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriter:
    """The rewrites and conversions of one stage.

    `identity` is whatever decides a result beside the files themselves; `neighbours` are the files that must stand beside what is
    rewritten so that a loader finds them; `sandbox` is where the optimizer works.
    """

    optimizer: Optimizer[Any]
    identity: Json
    context: Context
    neighbours: Sequence[File]
    workspace: Workspace
    sandbox: Sandbox
    lasting: bool = True

    @property
    def cache(self) -> Cache | None:
        """Where results are kept, None where they are not."""
        return self.sandbox.cache if self.lasting else None

    def run(self, works: Sequence[Work], pool: Executor, progress: Progress) -> dict[str, Rewritten]:
        """Return what came of each piece of work, by its change's path; the largest go first, so that no core waits at the end."""
        ordered = sorted(works, key=lambda work: -work.size)
        found = dict(zip((work.change.path for work in ordered), pool.map(self._recall, ordered), strict=True))
        done = {path: result for path, result in found.items() if result is not None}
        progress.advance(len(done))
        missing = [work for work in ordered if work.change.path not in done]
        if any(self._has_neighbours(work) for work in missing):
            list(pool.map(self.sandbox.workspace.local, self.neighbours))
        if missing:
            made = self.sandbox.guard.map(partial(self._make, progress, self.workspace.new_folder()), missing)
            done |= dict(zip((work.change.path for work in missing), made, strict=True))
        return {work.change.path: self._place_companions(work.change.path, done[work.change.path]) for work in works}

    def _has_neighbours(self, work: Work) -> bool:
        """Say whether the neighbours must stand beside a file: those of another distribution's step are copies, which take time."""
        return isinstance(work.change, Rewrite) and (work.model.kind in NATIVE or not self.sandbox.guard.foreign)

    def _key(self, work: Work) -> str:
        machine = [self.identity, sys.platform, platform.machine()]
        machine += ["module"] if is_in_pyz(work.change.path) else []  # it counts the bytes that it takes in the executable
        machine += ["image"] if self.context.artifact == "image" else []  # nothing of one was loaded to see whether it does
        if isinstance(work.change, Rewrite):
            return digest(["rewrite", *machine, work.sources[0].sha256, work.change.key])
        change, files = work.change, [[file.path, file.sha256] for file in (*work.sources, *work.reads)]
        return digest(["convert", *machine, change.path, len(work.sources), files, list(change.outputs), change.may_grow, change.key])

    def _recall(self, work: Work) -> Rewritten | None:
        entry = self.cache.get(self._key(work)) if self.cache else None
        try:
            with storage_errors(self.workspace.results):
                return self._restore(entry, work) if entry else None
        except FileNotFoundError:  # another build pruned the cache between the look and the grasp
            return None

    def _restore(self, entry: Entry, work: Work) -> Rewritten:
        """Take a result's files into the workspace."""
        value = entry.value
        findings = tuple(Finding(**{**finding, "path": work.change.path}) for finding in value["findings"])
        if value["kept"] is not None:
            return Rewritten(kept=value["kept"], findings=findings)
        outputs = outputs_of(work.change)
        files = [self._taken(entry.files[each["place"]], each, outputs[each["number"]], work) for each in value["outputs"]]
        folder = self.workspace.new_folder() if value["companions"] else self.workspace.root
        companions = {name: folder / place for place, name in value["companions"].items()}
        for place, name in value["companions"].items():
            link_or_copy(entry.files[place], companions[name])
        details = {outputs[number]: detail for number, detail in value["details"]}
        return Rewritten(files=tuple(files), details=details, findings=findings, companions=companions)

    def _taken(self, place: Path, made: Json, path: str, work: Work) -> File:
        """Return an output as a file of the bundle: its kind and mode are those of the file it takes the place of, if there is one."""
        result = self.workspace.results / made["sha256"]
        _link(place, result)
        before = next((file for file in work.sources if file.path == path), None)
        kind = before.kind if before else identify(path, _head(result))
        return replace(before or work.model, path=path, kind=kind, size=made["size"], sha256=made["sha256"], content=DiskContent(result))

    def _make(self, progress: Progress, folder: Path, work: Work) -> Rewritten:
        guard = self.sandbox.guard
        context = _TaskContext(self.context, self.optimizer.name, work.change.path, guard)
        draft: Draft | None = None
        try:
            draft = draft_of(work, self.sandbox.workspace)
            return self._made(draft, work, context, folder)
        except KeptError as error:
            return Rewritten(kept=error_line(error) if guard.foreign else str(error), findings=tuple(context.findings))
        except UnsoundResultError as error:  # not cached: it may be for the want of a neighbour
            return self._refused(work, "MB103", f"not sound when rewritten: {error_line(error)}", context.findings)
        except DistrustError as error:
            return self._refused(work, error.code, str(error), context.findings)
        except StorageError:
            raise
        except Exception as error:
            fatal = None if guard.foreign else fatal_storage_error(error, self.sandbox.workspace.tree)
            if fatal:
                raise fatal from error
            if draft is None:  # what cannot be laid out is no fault of the step's
                raise
            return self._refused(work, "MB102", f"failed: {error_line(error)}", context.findings)
        finally:
            if draft:
                draft.discard()
            progress.advance()

    def _made(self, draft: Draft, work: Work, context: _TaskContext, folder: Path) -> Rewritten:
        """Let the optimizer make its draft, and take it; `folder` is for copies that the optimizer cannot reach."""
        with self.sandbox.guard.inside():
            kept = draft.make(self.optimizer, context)
        if not self.sandbox.guard.foreign:
            taken = taken_from(draft) if kept is None else None
        else:
            self.sandbox.check_files(tuple(file.path for file in (*work.sources, *work.reads)))
            taken = sealed_from(draft, work, folder) if kept is None else None
        return self._accept(work, taken, kept, context.findings)

    def _accept(self, work: Work, taken: Taken | None, kept: str | None, findings: list[Finding]) -> Rewritten:
        """Put the result into the cache and the workspace, the same way as a result found in the cache."""
        value: dict[str, Any] = {"kept": kept, "findings": [asdict(each) for each in findings]}
        files: dict[str, Path] = {}
        known: dict[str, str] = {}
        if taken:
            numbers = {path: number for number, path in enumerate(outputs_of(work.change))}
            names = {_COMPANION.format(number): name for number, name in enumerate(taken.companions)}
            value["outputs"] = [_output(numbers[path], path, place) for path, place in taken.outputs.items()]
            value["companions"] = names
            value["details"] = [[numbers[path], detail] for path, detail in taken.details.items() if path in taken.outputs]
            known = {each["place"]: each["sha256"] for each in value["outputs"]}
            files = {_RESULT.format(numbers[path]): place for path, place in taken.outputs.items()}
            files |= {place: taken.companions[name] for place, name in names.items()}
        if self.cache:
            self.cache.put(self._key(work), value, files, known)
        return self._restore(Entry(value=value, files=files), work)

    def _refused(self, work: Work, code: str, kept: str, findings: list[Finding]) -> Rewritten:
        stays = "the originals stay" if len(work.sources) > 1 else "the original stays"
        message = self.sandbox.guard.named(f"{kept}; {stays}")
        finding = Finding(code=code, path=work.change.path, message=message, optimizer=self.optimizer.name)
        return Rewritten(kept=kept, findings=(*findings, finding))

    def _place_companions(self, path: str, result: Rewritten) -> Rewritten:
        """Put companions where the artifact's are gathered, one file's after the other's, so that the plan's first one wins."""
        findings = list(result.findings)
        for name, companion in result.companions.items():
            target = self.workspace.companions / name
            if not _placed(companion, target):
                message = self.sandbox.guard.named(f"its companion {printable(name)} has the name of another file's, which stays")
                findings.append(Finding(code="MB105", path=path, message=message, optimizer=self.optimizer.name))
        return replace(result, findings=tuple(findings))


def _placed(companion: Path, target: Path) -> bool:
    """Put a companion in its place; say whether it is there, and nothing else was."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            link_or_copy(companion, target)
            return True
        return sha256_of_file(target) == sha256_of_file(companion)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):  # one is called as a folder of the other is
        return False


def _link(path: Path, target: Path) -> None:
    """Give a file a second name that another thread may be giving to the same bytes right now."""
    if not target.exists():
        unfinished = target.with_name(f".{target.name}.{threading.get_ident()}")
        link_or_copy(path, unfinished)
        unfinished.replace(target)
        unfinished.unlink(missing_ok=True)  # POSIX: renaming onto another name of the same file leaves both


def _output(number: int, path: str, place: Path) -> dict[str, Any]:
    return {"number": number, "place": _RESULT.format(number), "size": size_in_bundle(path, place), "sha256": sha256_of_file(place)}


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD)
