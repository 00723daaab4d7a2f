"""Run the optimizers one after another: each plans, its changes are checked against the bundle, then carried out on all cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .cache import Cache
from .errors import MlbundleError, StorageError
from .examine import examine
from .globs import selector
from .identify import HEAD, identify
from .model import Add, Bundle, Change, Drop, File, Finding, Keep, Kind, Link, MemoryContent, Rewrite
from .optimizer import Json, Optimizer
from .progress import Progress
from .rewriting import Rewriter, Rewritten
from .workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An optimizer about to run, and the distribution that it comes from.

    `identity` is whatever decides its results beside its input: it goes into cache keys.
    """

    optimizer: Optimizer[Any]
    distribution: str
    version: str
    identity: Json

    @property
    def name(self) -> str:
        """The optimizer's name."""
        return self.optimizer.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One change as it was carried out: the file before (None where it was added) and after (None where it was dropped)."""

    action: Literal["drop", "keep", "rewrite", "add", "link"]
    path: str
    reason: str
    before: File | None
    after: File | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a stage would do: the changes it asks for and may have, in order."""

    stage: Stage
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a stage did, in the order of its plan."""

    stage: Stage
    changes: tuple[Applied, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The bundle after all stages, and how it came to be."""

    bundle: Bundle
    stages: tuple[Done, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every stage works with. `protects` returns why a file must never be changed, or None."""

    workspace: Workspace
    cache: Cache | None
    pool: Executor
    progress: Progress
    protects: Callable[[str], str | None]


class StageContext:
    """The Context (optimizer.py) of one stage."""

    def __init__(self, stage: Stage, services: Services) -> None:
        self._stage = stage
        self._services = services
        options = stage.optimizer.options
        self._selects = selector(options.include, options.exclude)
        self.findings: list[Finding] = []

    def selects(self, path: str) -> bool:
        """Say whether the stage may change the file."""
        return self._selects(path)

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        """Return the examiner's result for each file, by path."""
        return examine([self._stage.identity, name], files, examiner, self._services.pool, self._services.cache)

    def local(self, file: File) -> Path:
        """Return the file's path on disk."""
        return self._services.workspace.local(file)

    def report(self, finding: Finding) -> None:
        """Add a finding."""
        self.findings.append(replace(finding, optimizer=self._stage.name))


def run(bundle: Bundle, stages: Iterable[Stage], services: Services) -> Outcome:
    """Let each optimizer plan on what the one before it left, carry its changes out, and return what came of it all."""
    done: list[Done] = []
    findings: list[Finding] = []
    for stage in stages:
        context = StageContext(stage, services)
        changes = _plan_stage(bundle, stage, context, services)
        applied = _carry_out(changes, bundle, stage, context, services)
        bundle = _after(bundle, applied)
        done.append(Done(stage=stage, changes=tuple(applied)))
        findings += context.findings
    return Outcome(bundle=bundle, stages=tuple(done), findings=tuple(findings))


def plan(bundle: Bundle, stages: Iterable[Stage], services: Services) -> tuple[list[Planned], list[Finding]]:
    """Return what each optimizer would do, and the findings; change nothing. What a stage would rewrite, the next sees as it was."""
    planned: list[Planned] = []
    findings: list[Finding] = []
    for stage in stages:
        context = StageContext(stage, services)
        changes = _plan_stage(bundle, stage, context, services)
        cheap = [_applied(change, bundle, {}) for change in changes if not isinstance(change, Rewrite)]
        bundle = _after(bundle, cheap)
        planned.append(Planned(stage=stage, changes=tuple(changes)))
        findings += context.findings
    return planned, findings


def _plan_stage(bundle: Bundle, stage: Stage, context: StageContext, services: Services) -> list[Change]:
    services.progress.start(f"{stage.name}: planning", 0)
    allowed: dict[str, Change] = {}
    for change in _ask(bundle, stage, context):
        if not context.selects(change.path):
            continue
        problem = _objection(change, bundle, allowed, services)
        if problem:
            context.report(Finding(code="MB104", path=change.path, message=f"{_verb(change)} was refused: {problem}"))
        else:
            allowed[change.path] = change
    return list(allowed.values())


def _ask(bundle: Bundle, stage: Stage, context: StageContext) -> list[Change]:
    try:
        return list(stage.optimizer.plan(bundle, context))
    except StorageError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, MlbundleError) else f"{type(error).__name__}: {error}"
        context.report(Finding(code="MB101", message=f"failed while planning ({reason}); the step was left out"))
        return []


def _objection(change: Change, bundle: Bundle, allowed: Mapping[str, Change], services: Services) -> str | None:
    if change.path in allowed:
        return "the same step asked for another change of the file before"
    if isinstance(change, Add):
        return "a file of this name is there already" if change.path in bundle else _unsafe(change.path)
    if change.path not in bundle:
        return "there is no such file"
    if isinstance(change, Keep):
        return None
    if isinstance(change, Rewrite) and bundle[change.path].link is not None:
        return "a link has no bytes of its own"
    return services.protects(change.path)


def _unsafe(path: str) -> str | None:
    parts = path.split("/")
    return "the path leaves the bundle" if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(parts) else None


def _verb(change: Change) -> str:
    return type(change).__name__.lower()


def _carry_out(changes: Iterable[Change], bundle: Bundle, stage: Stage, context: StageContext, services: Services) -> list[Applied]:
    rewriter = Rewriter(
        optimizer=stage.optimizer,
        identity=stage.identity,
        context=context,
        neighbours=bundle.of_kind(Kind.ELF, Kind.PE, Kind.MACHO, Kind.LINK),
        workspace=services.workspace,
        cache=services.cache,
    )
    rewrites = [(change, bundle[change.path]) for change in changes if isinstance(change, Rewrite)]
    services.progress.start(stage.name, len(rewrites))
    results = rewriter.run(rewrites, services.pool, services.progress)
    for change, _ in rewrites:
        context.findings += results[change.path].findings
    return [_applied(change, bundle, results) for change in changes]


def _applied(change: Change, bundle: Bundle, results: Mapping[str, Rewritten]) -> Applied:
    before = bundle.get(change.path)
    reason = change.reason
    match change:
        case Drop():
            return Applied(action="drop", path=change.path, reason=reason, before=before, after=None)
        case Add():
            return Applied(action="add", path=change.path, reason=reason, before=None, after=_added(change))
        case Link() if before:
            return Applied(action="link", path=change.path, reason=reason, before=before, after=_linked(before, change.target))
        case Rewrite() if results[change.path].kept is None:
            return Applied(action="rewrite", path=change.path, reason=reason, before=before, after=results[change.path].file)
        case Rewrite():
            reason = str(results[change.path].kept)
    return Applied(action="keep", path=change.path, reason=reason, before=before, after=before)


def _added(change: Add) -> File:
    data = b"".join(change.content.chunks())
    return File(
        path=change.path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mode=change.mode,
        kind=identify(change.path, data[:HEAD]),
        owner=change.path.partition("/")[0],
        content=change.content,
    )


def _linked(file: File, target: str) -> File:
    return replace(file, size=0, sha256=hashlib.sha256(b"").hexdigest(), kind=Kind.LINK, content=MemoryContent(b""), link=target)


def _after(bundle: Bundle, applied: Iterable[Applied]) -> Bundle:
    dropped = [each.path for each in applied if each.after is None]
    return bundle.without(dropped).replacing(each.after for each in applied if each.after is not None)
