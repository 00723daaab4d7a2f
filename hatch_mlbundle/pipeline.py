"""Run the optimizers one after another: each plans, its changes are checked against the bundle, then carried out on all cores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .cache import Cache
from .drafts import Work
from .errors import MlbundleError, StorageError
from .examine import examine
from .globs import selector
from .identify import HEAD, identify
from .model import Add, Bundle, Change, Convert, Drop, File, Finding, Kind, Leave, Link, MemoryContent, Rewrite, Tell
from .objections import objection, parts_of, touched
from .optimizer import ArtifactKind, Detail, Json, Judge, Optimizer
from .progress import Progress
from .rewriting import Rewriter, Rewritten
from .storage import fatal_storage_error
from .workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An optimizer about to run, and the distribution that it comes from.

    `identity` is whatever decides its results beside its input: it goes into cache keys. `lasting` says whether it is all that
    decides them, so that results may be kept: what a command of the user's measures depends on more than can be seen.
    """

    optimizer: Optimizer[Any]
    distribution: str
    version: str
    identity: Json
    lasting: bool = True

    @property
    def name(self) -> str:
        """The optimizer's name."""
        return self.optimizer.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one file: as it was before (None where it was added) and is after (None where it was dropped).

    What was made together, by one Convert or Leave, has the change's path as its `group`: it is put back together, too. `detail` is what
    the optimizer says of how the file was made. `leave` is the change by which a model left, `tell` the one that says so: a file of these
    follows from the others' and is made again with them.
    """

    action: Literal["drop", "keep", "rewrite", "add", "link"]
    path: str
    reason: str
    before: File | None
    after: File | None
    group: str | None = None
    detail: Detail | None = None
    leave: Leave | None = None
    tell: Tell | None = None


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


def everything(_: str) -> bool:
    """Say that a file may be changed, whichever it is."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every stage works with. `refuses` returns why the artifact, of this `kind`, cannot have a change, or None.

    `selects` says which files of the artifact steps may change at all; `judge` is as in Context.
    """

    workspace: Workspace
    cache: Cache | None
    pool: Executor
    progress: Progress
    refuses: Callable[[Change], str | None]
    judge: Judge | None = None
    kind: ArtifactKind = "folder"
    selects: Callable[[str], bool] = everything


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
        """What measures accuracy, None where nothing is asked for, and for lossless steps: they are not to go by it."""
        return None if self._stage.optimizer.lossless else self._services.judge

    @property
    def artifact(self) -> ArtifactKind:
        """What sort of artifact the bundle is of."""
        return self._services.kind

    def selects(self, path: str) -> bool:
        """Say whether the stage may change the file."""
        return self._selects(path) and self._services.selects(path)

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
        bundle = bundle.without(path for change in changes if isinstance(change, Drop | Leave) for path in touched(change))
        planned.append(Planned(stage=stage, changes=tuple(changes)))
        findings += context.findings
    return planned, findings


def _plan_stage(bundle: Bundle, stage: Stage, context: StageContext, services: Services) -> list[Change]:
    services.progress.start(f"{stage.name}: planning", 0)
    allowed: dict[str, Change] = {}
    taken: dict[str, Change] = {}
    for change in _ask(bundle, stage, context, services):
        if not context.selects(change.path) and not isinstance(change, Add | Tell):
            continue
        problem = _refusal(change, services) or objection(change, bundle, taken)
        if problem:
            context.report(Finding(code="MB104", path=change.path, message=f"{_verb(change)} was refused: {problem}"))
        else:
            allowed[change.path] = change
            taken |= dict.fromkeys(touched(change), change)
    return list(allowed.values())


def _refusal(change: Change, services: Services) -> str | None:
    """Return why the artifact cannot have a change, or None."""
    return next((problem for part in parts_of(change) if (problem := services.refuses(part))), None)


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


def _verb(change: Change) -> str:
    return type(change).__name__.lower()


def _carry_out(changes: Iterable[Change], bundle: Bundle, stage: Stage, context: StageContext, services: Services) -> list[Applied]:
    rewriter = Rewriter(
        optimizer=stage.optimizer,
        identity=stage.identity,
        context=context,
        neighbours=() if services.kind == "image" else bundle.of_kind(Kind.ELF, Kind.PE, Kind.MACHO, Kind.LINK),
        workspace=services.workspace,
        cache=services.cache if stage.lasting else None,
    )
    works = [_work(change, bundle) for change in changes if isinstance(change, Rewrite | Convert)]
    services.progress.start(stage.name, len(works))
    results = rewriter.run(works, services.pool, services.progress)
    applied: list[Applied] = []
    for change in changes:
        context.findings += results[change.path].findings if change.path in results else ()
        try:
            applied += _applied(change, bundle, results)
        except Exception as error:  # the content of an Add is a third party's code
            fatal = fatal_storage_error(error, services.workspace.tree)
            if fatal:
                raise fatal from error
            message = f"{_verb(change)} was refused: its content cannot be read ({type(error).__name__}: {error})"
            context.report(Finding(code="MB104", path=change.path, message=message))
    leaves = leaves_of(applied)
    return [*applied, *(tale for each in changes if isinstance(each, Tell) and (tale := told(each, bundle.get(each.path), leaves)))]


def leaves_of(applied: Iterable[Applied]) -> list[Leave]:
    """Return how models left by these changes, each model once."""
    return list({each.leave.name: each.leave for each in applied if each.leave}.values())


def left(change: Leave, files: Mapping[str, File]) -> list[Applied]:
    """Return what becomes of each file of a model that leaves."""
    return [
        Applied(action="drop", path=path, reason=change.reason, before=files[path], after=None, group=change.path, leave=change)
        for path in change.paths
    ]


def told(change: Tell, before: File | None, leaves: Collection[Leave]) -> Applied | None:
    """Return what becomes of the file that tells of the models that left; None where it is not to be, or stays as it is."""
    data = change.render(leaves)
    if data is None or (before is not None and before.sha256 == hashlib.sha256(data).hexdigest()):
        return None
    new = _added(Add(path=change.path, reason=change.reason, content=MemoryContent(data)))
    after = new if before is None else replace(before, size=new.size, sha256=new.sha256, content=new.content)
    return Applied(action="rewrite" if before else "add", path=change.path, reason=change.reason, before=before, after=after, tell=change)


def _work(change: Rewrite | Convert, bundle: Bundle) -> Work:
    if isinstance(change, Rewrite):
        return Work(change=change, sources=(bundle[change.path],))
    sources, reads = (tuple(bundle[path] for path in paths) for paths in (change.sources, change.reads))
    return Work(change=change, sources=sources, reads=reads)


def _applied(change: Change, bundle: Bundle, results: Mapping[str, Rewritten]) -> list[Applied]:
    before, reason = bundle.get(change.path), change.reason
    match change:
        case Drop():
            return [Applied(action="drop", path=change.path, reason=reason, before=before, after=None)]
        case Add():
            return [Applied(action="add", path=change.path, reason=reason, before=None, after=_added(change))]
        case Link() if before:
            return [Applied(action="link", path=change.path, reason=reason, before=before, after=_linked(before, change.target))]
        case Leave():
            return left(change, bundle)
        case Tell():
            return []  # when all others are carried out
        case Rewrite() | Convert() if results[change.path].kept is None:
            return list(_made(change, bundle, results[change.path]))
        case Rewrite() | Convert():
            reason = str(results[change.path].kept)
    return [Applied(action="keep", path=change.path, reason=reason, before=before, after=before)]


def _made(change: Rewrite | Convert, bundle: Bundle, result: Rewritten) -> Iterator[Applied]:
    """Yield what became of each file that a change touches."""
    group = change.path if isinstance(change, Convert) else None
    after = {file.path: file for file in result.files}
    sources = change.sources if isinstance(change, Convert) else (change.path,)
    for path in dict.fromkeys((*sources, *after)):
        before, detail = bundle.get(path), result.details.get(path)
        if path not in after:
            yield Applied(action="drop", path=path, reason=_gone(change, after), before=before, after=None, group=group)
            continue
        action: Literal["rewrite", "add"] = "rewrite" if before else "add"
        yield Applied(action=action, path=path, reason=change.reason, before=before, after=after[path], group=group, detail=detail)


def _gone(change: Change, after: Iterable[str]) -> str:
    return f"{change.reason}: now in {', '.join(sorted(after))}"


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
