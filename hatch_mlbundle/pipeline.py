"""Run the optimizers one after another: each plans, its changes are checked against the bundle, then carried out on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_args

from .applied import Applied, applied_by, bundle_after, leaves_of, told
from .cache import Cache
from .claims import believed, most_changes
from .drafts import Work
from .errors import ClaimError, DistrustError, HangError, StorageError
from .examine import examine
from .globs import selector
from .guard import OURS, Trust, error_line
from .model import Add, Bundle, Change, Convert, Drop, File, Finding, Kind, Leave, Rewrite, Tell
from .objections import objection, parts_of, touched
from .optimizer import ArtifactKind, Json, Judge, Optimizer
from .printable import printable
from .progress import Progress
from .rewriting import NATIVE, Rewriter, add_finding
from .sandbox import Quarantine, Rules, Sandbox
from .storage import fatal_storage_error
from .workspace import Workspace

T = TypeVar("T")


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

    `selects` says which files of the artifact steps may change at all; `judge` is as in Context; `rules` are for steps of other
    distributions.
    """

    workspace: Workspace
    cache: Cache | None
    pool: Executor
    progress: Progress
    refuses: Callable[[Change], str | None]
    judge: Judge | None = None
    kind: ArtifactKind = "folder"
    selects: Callable[[str], bool] = everything
    rules: Rules = Rules()


class StageContext:
    """The Context (optimizer.py) of one stage, which works in `sandbox`."""

    def __init__(self, stage: Stage, services: Services, sandbox: Sandbox) -> None:
        self._stage = stage
        self._services = services
        self.sandbox = sandbox
        self._judge = sandbox.asked(None if stage.optimizer.lossless else services.judge)
        options = stage.optimizer.options
        self._selects = selector(options.include, options.exclude)
        self.findings: list[Finding] = []

    @property
    def judge(self) -> Judge | None:
        """What measures accuracy, None where nothing is asked for, and for lossless steps: they are not to go by it."""
        return self._judge

    @property
    def artifact(self) -> ArtifactKind:
        """What sort of artifact the bundle is of."""
        return self._services.kind

    def selects(self, path: str) -> bool:
        """Say whether the stage may change the file."""
        return self._selects(path) and self._services.selects(path)

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        """Return the examiner's result for each file, by path."""
        guard = self.sandbox.guard

        def inside(file: File) -> Json:
            with guard.inside():
                return examiner(file)

        with guard.outside():
            return examine([self._stage.identity, name], list(files), inside, guard, self.sandbox.cache)

    def local(self, file: File) -> Path:
        """Return the file's path on disk."""
        with self.sandbox.guard.outside():
            return self.sandbox.workspace.local(file)

    def report(self, finding: Finding) -> None:
        """Add a finding."""
        add_finding(self.findings, finding, self._stage.name, self.sandbox.guard)

    def tell(self, code: str, message: str, path: str | None = None) -> None:
        """Add a finding of ours about the step."""
        self.findings.append(Finding(code=code, path=path, message=self.sandbox.guard.named(message), optimizer=self._stage.name))


def run(bundle: Bundle, stages: Iterable[Stage], services: Services) -> Outcome:
    """Let each optimizer plan on what the one before it left, carry its changes out, and return what came of it all."""
    done: list[Done] = []
    findings: list[Finding] = []
    for stage in stages:
        services.workspace.follow(bundle)
        applied, found = _in_sandbox(partial(_run_stage, bundle, stage, services), stage, services)
        bundle = bundle_after(bundle, applied)
        done.append(Done(stage=stage, changes=tuple(applied)))
        findings += found
    return Outcome(bundle=bundle, stages=tuple(done), findings=tuple(findings))


def plan(bundle: Bundle, stages: Iterable[Stage], services: Services) -> tuple[list[Planned], list[Finding]]:
    """Return what each optimizer would do, and the findings; change nothing.

    A stage sees what those before it would drop as gone, but what they would rewrite, add or link as it was.
    """
    planned: list[Planned] = []
    findings: list[Finding] = []
    for stage in stages:
        changes, found = _in_sandbox(partial(_plan_stage, bundle, stage, services), stage, services)
        bundle = bundle.without(path for change in changes if isinstance(change, Drop | Leave) for path in touched(change))
        planned.append(Planned(stage=stage, changes=tuple(changes)))
        findings += found
    return planned, findings


def _in_sandbox(work: Callable[[StageContext], list[T]], stage: Stage, services: Services) -> tuple[list[T], list[Finding]]:
    """Return what comes of a stage's work, and its findings; nothing is taken of a step that does what it may not."""
    with closing(_sandbox(stage, services)) as sandbox:
        context = StageContext(stage, services, sandbox)
        try:
            results = work(context)
            sandbox.check()
        except DistrustError as error:
            context.findings.clear()  # which of them there are may be a matter of the moment
            longer = f"; if it needs more, raise `timeout` in [tool.mlbundle.{stage.name}]" if isinstance(error, HangError) else ""
            context.tell(error.code, f"{error}; the step was left out{longer}")
            return [], context.findings
        if strays := sandbox.strays():
            others = f" and {len(strays) - 1} more files" if len(strays) > 1 else ""
            context.tell("MB124", f"left {printable(strays[0])}{others} beside what it was to make; it was removed")
        else:
            sandbox.keep()
        return results, context.findings


def _sandbox(stage: Stage, services: Services) -> Sandbox:
    if stage.distribution == OURS:
        return Sandbox(Trust(services.pool), services.workspace, services.cache)
    return Quarantine(stage.optimizer, stage.distribution, services.workspace, services.cache, services.rules)


def _run_stage(bundle: Bundle, stage: Stage, services: Services, context: StageContext) -> list[Applied]:
    return _carry_out(_plan_stage(bundle, stage, services, context), bundle, stage, services, context)


def _plan_stage(bundle: Bundle, stage: Stage, services: Services, context: StageContext) -> list[Change]:
    services.progress.start(f"{stage.name}: planning", 0)
    allowed: dict[str, Change] = {}
    taken: dict[str, Change] = {}
    for change in _ask(bundle, stage, services, context):
        if not context.selects(change.path) and not isinstance(change, Add | Tell):
            continue
        problem = _refusal(change, services) or objection(change, bundle, taken)
        if problem:
            context.tell("MB104", f"{_verb(change)} was refused: {problem}", change.path)
        else:
            allowed[change.path] = change
            taken |= dict.fromkeys(touched(change), change)
    return list(allowed.values())


def _refusal(change: Change, services: Services) -> str | None:
    """Return why the artifact cannot have a change, or None."""
    return next((problem for part in parts_of(change) if (problem := services.refuses(part))), None)


def _ask(bundle: Bundle, stage: Stage, services: Services, context: StageContext) -> list[Change]:
    sandbox = context.sandbox
    try:
        changes = sandbox.guard.call(lambda: list(islice(stage.optimizer.plan(sandbox.shown(bundle), context), most_changes(bundle))))
        strangers = [change for change in changes if not isinstance(change, get_args(Change))]
        if strangers:
            raise TypeError(f"plan() gave {strangers[0]!r}, which is no change")
        if len(changes) == most_changes(bundle):
            raise ClaimError(f"asks for {len(changes):,} changes or more to {len(bundle):,} files")
    except (StorageError, DistrustError):
        raise
    except Exception as error:
        fatal = None if sandbox.guard.foreign else fatal_storage_error(error, services.workspace.tree)
        if fatal:
            raise fatal from error
        context.tell("MB101", f"failed while planning ({error_line(error)}); the step was left out")
        return []
    if not sandbox.guard.foreign:
        return changes
    taken, refused = believed(changes, bundle, sandbox.guard)
    for message in refused:
        context.tell("MB104", message)
    return taken


def _verb(change: Change) -> str:
    return type(change).__name__.lower()


def _carry_out(changes: Iterable[Change], bundle: Bundle, stage: Stage, services: Services, context: StageContext) -> list[Applied]:
    rewriter = Rewriter(
        optimizer=stage.optimizer,
        identity=stage.identity,
        context=context,
        neighbours=() if services.kind == "image" else bundle.of_kind(*NATIVE, Kind.LINK),
        workspace=services.workspace,
        sandbox=context.sandbox,
        lasting=stage.lasting,
    )
    works = [_work(change, bundle) for change in changes if isinstance(change, Rewrite | Convert)]
    services.progress.start(stage.name, len(works))
    results = rewriter.run(works, services.pool, services.progress)
    applied: list[Applied] = []
    for change in changes:
        context.findings += results[change.path].findings if change.path in results else ()
        try:
            applied += applied_by(change, bundle, results)
        except Exception as error:  # the content of an Add is a third party's code
            fatal = fatal_storage_error(error, services.workspace.tree)
            if fatal:
                raise fatal from error
            context.tell("MB104", f"{_verb(change)} was refused: its content cannot be read ({error_line(error)})", change.path)
    leaves = leaves_of(applied)
    return [*applied, *(tale for each in changes if isinstance(each, Tell) and (tale := told(each, bundle.get(each.path), leaves)))]


def _work(change: Rewrite | Convert, bundle: Bundle) -> Work:
    if isinstance(change, Rewrite):
        return Work(change=change, sources=(bundle[change.path],))
    sources, reads = (tuple(bundle[path] for path in paths) for paths in (change.sources, change.reads))
    return Work(change=change, sources=sources, reads=reads)
