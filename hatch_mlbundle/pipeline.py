"""Run the optimizers one after another: each plans, its changes are checked against the bundle, then carried out on all cores."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .cache import Cache
from .errors import MlbundleError, StorageError
from .examine import examine
from .globs import selector
from .identify import HEAD, identify
from .model import Add, Bundle, Change, Drop, File, Finding, Kind, Link, MemoryContent, Rewrite
from .optimizer import Json, Judge, Optimizer
from .progress import Progress
from .rewriting import Rewriter, Rewritten
from .storage import fatal_storage_error
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
    """What every stage works with. `refuses` returns why the artifact cannot have a change, or None; `judge` is as in Context."""

    workspace: Workspace
    cache: Cache | None
    pool: Executor
    progress: Progress
    refuses: Callable[[Change], str | None]
    judge: Judge | None = None


class StageContext:
    """The Context (optimizer.py) of one stage."""

    def __init__(self, stage: Stage, services: Services) -> None:
        self._stage = stage
        self._services = services
        options = stage.optimizer.options
        self._selects = selector(options.include, options.exclude)
        self.findings: list[Finding] = []

    @property
    def judge(self) -> Judge | None:
        """What measures accuracy, None where nothing is asked for."""
        return self._services.judge

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
        services.workspace.follow(bundle)
        context = StageContext(stage, services)
        changes = _plan_stage(bundle, stage, context, services)
        applied = _carry_out(changes, bundle, stage, context, services)
        bundle = _after(bundle, applied)
        done.append(Done(stage=stage, changes=tuple(applied)))
        findings += context.findings
    return Outcome(bundle=bundle, stages=tuple(done), findings=tuple(findings))


def plan(bundle: Bundle, stages: Iterable[Stage], services: Services) -> tuple[list[Planned], list[Finding]]:
    """Return what each optimizer would do, and the findings; change nothing.

    A stage sees what those before it would drop as gone, but what they would rewrite, add or link as it was.
    """
    planned: list[Planned] = []
    findings: list[Finding] = []
    for stage in stages:
        context = StageContext(stage, services)
        changes = _plan_stage(bundle, stage, context, services)
        bundle = bundle.without(change.path for change in changes if isinstance(change, Drop))
        planned.append(Planned(stage=stage, changes=tuple(changes)))
        findings += context.findings
    return planned, findings


def _plan_stage(bundle: Bundle, stage: Stage, context: StageContext, services: Services) -> list[Change]:
    services.progress.start(f"{stage.name}: planning", 0)
    allowed: dict[str, Change] = {}
    for change in _ask(bundle, stage, context, services):
        if not context.selects(change.path) and not isinstance(change, Add):
            continue
        problem = services.refuses(change) or _objection(change, bundle, allowed)
        if problem:
            context.report(Finding(code="MB104", path=change.path, message=f"{_verb(change)} was refused: {problem}"))
        else:
            allowed[change.path] = change
    return list(allowed.values())


def _ask(bundle: Bundle, stage: Stage, context: StageContext, services: Services) -> list[Change]:
    try:
        changes = list(stage.optimizer.plan(bundle, context))
        strangers = [change for change in changes if not isinstance(change, get_args(Change))]
        if strangers:
            raise TypeError(f"plan() gave {strangers[0]!r}, which is no change")
    except StorageError:
        raise
    except Exception as error:
        fatal = fatal_storage_error(error, services.workspace.tree)
        if fatal:
            raise fatal from error
        reason = str(error) if isinstance(error, MlbundleError) else f"{type(error).__name__}: {error}"
        context.report(Finding(code="MB101", message=f"failed while planning ({reason}); the step was left out"))
        return []
    return changes


def _objection(change: Change, bundle: Bundle, allowed: Mapping[str, Change]) -> str | None:
    if change.path in allowed:
        return "the same step asked for another change of the file before"
    if isinstance(change, Add):
        return _unfit(change.path, bundle, allowed)
    if change.path not in bundle:
        return "there is no such file"
    if isinstance(change, Rewrite) and bundle[change.path].link is not None:
        return "a link has no bytes of its own"
    return _astray(change, bundle) if isinstance(change, Link) else None


def _unfit(path: str, bundle: Bundle, allowed: Mapping[str, Change]) -> str | None:
    """Return why no file can be added at `path`, or None."""
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(parts):
        return "the path leaves the bundle"
    if path in bundle:
        return "a file of this name is there already"
    added = {each for each, change in allowed.items() if isinstance(change, Add)}
    if any("/".join(parts[:length]) in {*bundle, *added} for length in range(1, len(parts))):
        return "one of its folders is a file or a link"
    if any(other.startswith(f"{path}/") for other in (*bundle, *added)):
        return "a folder of this name is there already"
    return None


def _astray(change: Link, bundle: Bundle) -> str | None:
    """Return why a link cannot point where it should, or None."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(change.path), change.target))
    if change.target.startswith("/") or target not in bundle or target == change.path:
        return f"its target {change.target!r} is no other file of the bundle"
    return None


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
    applied: list[Applied] = []
    for change in changes:
        context.findings += results[change.path].findings if change.path in results else ()
        try:
            applied.append(_applied(change, bundle, results))
        except Exception as error:  # the content of an Add is a third party's code
            fatal = fatal_storage_error(error, services.workspace.tree)
            if fatal:
                raise fatal from error
            message = f"{_verb(change)} was refused: its content cannot be read ({type(error).__name__}: {error})"
            context.report(Finding(code="MB104", path=change.path, message=message))
    return applied


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
