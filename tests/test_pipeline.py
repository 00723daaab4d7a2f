from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hatch_mlbundle.cache import Cache
from hatch_mlbundle.errors import ProgramError, StorageError, UnsoundResultError
from hatch_mlbundle.guard import OURS
from hatch_mlbundle.model import Add, Bundle, Change, Drop, File, Finding, Keep, Kind, Link, MemoryContent, Rewrite
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Task, option
from hatch_mlbundle.pipeline import Outcome, Planned, Services, Stage, plan, run
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.workspace import Workspace, temporary_workspace
from tests.builders import bundle_of, file_of

Planner = Callable[[Bundle, Context], Iterable[Change]]


class Asking(Optimizer[Options]):
    """Asks for the changes that the test wants; a rewritten file loses its last byte."""

    name = "asking"
    version = "1"

    def __init__(self, planner: Planner, options: Options | None = None) -> None:
        super().__init__(options or Options())
        self._planner = planner

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return self._planner(bundle, context)

    def rewrite(self, task: Task, context: Context) -> None:
        task.target.write_bytes(task.source.read_bytes()[:-1])


@dataclass(frozen=True, kw_only=True)
class CutOptions(Options):
    bytes: int = option("How many bytes to cut off.", default=1)


class Cut(Optimizer[CutOptions]):
    """Cuts bytes off every file; files that begin with "bad" fail, with "wrong" are not sound afterwards."""

    name = "cut"
    version = "1"
    options_type = CutOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        for file in bundle.values():
            yield Rewrite(path=file.path, reason="shorter is better", saves=self.options.bytes)

    def rewrite(self, task: Task, context: Context) -> None:
        data = task.source.read_bytes()
        if data.startswith(b"bad"):
            raise ProgramError("cut: crashed")
        task.target.write_bytes(data[: -self.options.bytes])
        (task.companions / f"{task.file.sha256[:8]}.cut").write_bytes(data[-self.options.bytes :])

    def check(self, task: Task, context: Context) -> None:
        if task.target.read_bytes().startswith(b"wrong"):
            raise UnsoundResultError("it is wrong")


def stage_of(optimizer: Optimizer, identity: object = None) -> Stage:
    return Stage(optimizer=optimizer, distribution=OURS, version="1.0", identity=identity or [optimizer.name, optimizer.version])


def asking(*changes: Change, options: Options | None = None) -> Stage:
    return stage_of(Asking(lambda bundle, context: changes, options))


def cutting(number: int = 1, options: CutOptions | None = None) -> Stage:
    return stage_of(Cut(options or CutOptions(bytes=number)), ["cut", number])


def refuses(change: Change) -> str | None:
    return "installers need it" if change.path.endswith("RECORD") and not isinstance(change, Keep) else None


@contextmanager
def services_of(cache: Cache | None = None, workers: int = 4) -> Iterator[Services]:
    with temporary_workspace() as workspace, ThreadPoolExecutor(workers) as pool:
        yield Services(workspace=workspace, cache=cache, pool=pool, progress=Silence(), refuses=refuses)


@pytest.fixture
def services() -> Iterator[Services]:
    with services_of() as services:
        yield services


def contents(bundle: Bundle) -> dict[str, bytes]:
    return {path: file.read() for path, file in bundle.items()}


def actions(outcome: Outcome) -> list[list[tuple[str, str, str]]]:
    return [[(each.action, each.path, each.reason) for each in done.changes] for done in outcome.stages]


def told(findings: Iterable[Finding]) -> list[tuple[str, str | None, str]]:
    return [(each.code, each.path, each.message) for each in findings]


BUNDLE = bundle_of({"a.py": "aaaa", "b.txt": "bbb", "lib/c.so": b"\x7fELFcc", "x-1.dist-info/RECORD": "a.py,,"})


def test_nothing_configured_changes_nothing(services: Services) -> None:
    outcome = run(BUNDLE, [], services)
    assert outcome == Outcome(bundle=BUNDLE, stages=(), findings=())


def test_every_sort_of_change(services: Services) -> None:
    changes = (
        Drop(path="b.txt", reason="not needed"),
        Keep(path="x-1.dist-info/RECORD", reason="metadata"),
        Rewrite(path="a.py", reason="too long"),
        Add(path="new/d.json", reason="a stub", content=MemoryContent(b"{}"), mode=0o600),
    )
    outcome = run(BUNDLE, [asking(*changes)], services)
    assert contents(outcome.bundle) == {"a.py": b"aaa", "lib/c.so": b"\x7fELFcc", "x-1.dist-info/RECORD": b"a.py,,", "new/d.json": b"{}"}
    assert actions(outcome) == [
        [
            ("drop", "b.txt", "not needed"),
            ("keep", "x-1.dist-info/RECORD", "metadata"),
            ("rewrite", "a.py", "too long"),
            ("add", "new/d.json", "a stub"),
        ]
    ]
    assert outcome.findings == ()
    (dropped, kept, rewritten, added) = outcome.stages[0].changes
    assert (dropped.before, dropped.after) == (BUNDLE["b.txt"], None)
    assert kept.before is kept.after is BUNDLE["x-1.dist-info/RECORD"]
    assert (rewritten.before, rewritten.after) == (BUNDLE["a.py"], outcome.bundle["a.py"])
    assert (added.before, added.after) == (None, outcome.bundle["new/d.json"])
    assert outcome.bundle["new/d.json"] == replace(file_of("new/d.json", b"{}"), mode=0o600, content=outcome.bundle["new/d.json"].content)


def test_a_link_has_no_bytes(services: Services) -> None:
    outcome = run(BUNDLE, [asking(Link(path="lib/c.so", reason="the same", target="../b.txt"))], services)
    linked = outcome.bundle["lib/c.so"]
    assert (linked.size, linked.link, linked.kind, linked.read()) == (0, "../b.txt", Kind.LINK, b"")
    assert linked.sha256 == hashlib.sha256(b"").hexdigest()
    assert outcome.bundle.size == BUNDLE.size - 6


def test_the_list_is_the_order_and_a_step_sees_what_the_one_before_left(services: Services) -> None:
    seen: list[object] = []

    def look(bundle: Bundle, context: Context) -> Iterable[Change]:
        seen.append({path: (file.size, file.read(), context.local(file).read_bytes()) for path, file in bundle.items()})
        return []

    first = asking(Drop(path="b.txt", reason=""), Rewrite(path="a.py", reason=""))
    run(BUNDLE, [stage_of(Asking(look)), first, stage_of(Asking(look)), cutting(2), stage_of(Asking(look))], services)
    assert [{path: data for path, (_, data, _) in look.items()} for look in seen] == [
        {"a.py": b"aaaa", "b.txt": b"bbb", "lib/c.so": b"\x7fELFcc", "x-1.dist-info/RECORD": b"a.py,,"},
        {"a.py": b"aaa", "lib/c.so": b"\x7fELFcc", "x-1.dist-info/RECORD": b"a.py,,"},
        {"a.py": b"a", "lib/c.so": b"\x7fELF", "x-1.dist-info/RECORD": b"a.py,,"},
    ]
    for look in seen:
        assert all(size == len(data) and data == local for size, data, local in look.values())


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (Options(include=("*.py",)), ["b.txt", "lib/c.so", "x-1.dist-info/RECORD"]),
        (Options(exclude=("lib/", "*.py")), ["a.py", "lib/c.so", "x-1.dist-info/RECORD"]),
        (Options(include=("a.*",), exclude=("*.py",)), ["a.py", "b.txt", "lib/c.so", "x-1.dist-info/RECORD"]),
    ],
)
def test_include_and_exclude_bind_an_optimizer_that_ignores_them(services: Services, options: Options, left: list[str]) -> None:
    changes = [Drop(path=path, reason="") for path in ("a.py", "b.txt", "lib/c.so")]
    outcome = run(BUNDLE, [asking(*changes, options=options)], services)
    assert list(outcome.bundle) == left
    assert outcome.findings == ()


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            [Drop(path="x-1.dist-info/RECORD", reason="")],
            "x-1.dist-info/RECORD",
            "drop was refused: installers need it",
        ),
        ([Rewrite(path="x-1.dist-info/RECORD", reason="")], "x-1.dist-info/RECORD", "rewrite was refused: installers need it"),
        (
            [Link(path="x-1.dist-info/RECORD", reason="", target="y")],
            "x-1.dist-info/RECORD",
            "link was refused: installers need it",
        ),
        ([Drop(path="absent", reason="")], "absent", "drop was refused: there is no such file"),
        ([Keep(path="absent", reason="")], "absent", "keep was refused: there is no such file"),
        ([Rewrite(path="absent", reason="")], "absent", "rewrite was refused: there is no such file"),
        ([Link(path="absent", reason="", target="a.py")], "absent", "link was refused: there is no such file"),
        ([Add(path="a.py", reason="", content=MemoryContent(b""))], "a.py", "add was refused: a file of this name is there already"),
        (
            [Keep(path="a.py", reason=""), Drop(path="a.py", reason="")],
            "a.py",
            "drop was refused: the same step asked for another change of the file before",
        ),
    ],
)
def test_what_cannot_be_is_refused(services: Services, changes: list[Change], path: str, message: str) -> None:
    outcome = run(BUNDLE, [asking(*changes)], services)
    assert told(outcome.findings) == [("MB104", path, message)]
    assert outcome.findings[0].optimizer == "asking"
    assert outcome.bundle == BUNDLE


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a//b", "./x", "x/", "", "a\\..\\x", "C:\\x"])
def test_a_new_file_stays_within_the_bundle(services: Services, path: str) -> None:
    outcome = run(BUNDLE, [asking(Add(path=path, reason="", content=MemoryContent(b"")))], services)
    assert told(outcome.findings) == [("MB104", path, "add was refused: the path leaves the bundle")]
    assert outcome.bundle == BUNDLE


@pytest.mark.parametrize("path", ["a.py/x", "lib", "link/x"])
def test_a_new_file_needs_a_place_of_its_own(services: Services, path: str) -> None:
    bundle = BUNDLE.replacing([file_of("link", b"", link="/etc")])
    outcome = run(bundle, [asking(Add(path=path, reason="", content=MemoryContent(b"")))], services)
    assert [finding.code for finding in outcome.findings] == ["MB104"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "absent.so", "c.so"])
def test_a_link_stays_within_the_bundle(services: Services, target: str) -> None:
    outcome = run(BUNDLE, [asking(Link(path="lib/c.so", reason="", target=target))], services)
    assert [finding.code for finding in outcome.findings] == ["MB104"]


def test_a_link_is_not_rewritten(services: Services) -> None:
    bundle = BUNDLE.replacing([file_of("lib/d.so", b"", link="c.so")])
    outcome = run(bundle, [asking(Rewrite(path="lib/d.so", reason=""))], services)
    assert told(outcome.findings) == [("MB104", "lib/d.so", "rewrite was refused: a link has no bytes of its own")]


def test_what_is_refused_does_not_stop_the_rest(services: Services) -> None:
    outcome = run(BUNDLE, [asking(Drop(path="absent", reason=""), Drop(path="b.txt", reason=""))], services)
    assert "b.txt" not in outcome.bundle
    assert [finding.code for finding in outcome.findings] == ["MB104"]


def failing(error: BaseException) -> Stage:
    def fail(bundle: Bundle, context: Context) -> Iterable[Change]:
        yield Drop(path="a.py", reason="")
        raise error

    return stage_of(Asking(fail))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ProgramError("llvm-strip: crashed"), "llvm-strip: crashed"),
        (RecursionError(), "RecursionError"),
    ],
)
def test_a_step_that_fails_while_planning_is_left_out(services: Services, error: BaseException, reason: str) -> None:
    outcome = run(BUNDLE, [failing(error), asking(Drop(path="b.txt", reason=""))], services)
    assert told(outcome.findings) == [("MB101", None, f"failed while planning ({reason}); the step was left out")]
    assert list(outcome.bundle) == ["a.py", "lib/c.so", "x-1.dist-info/RECORD"]
    assert [len(done.changes) for done in outcome.stages] == [0, 1]


def test_a_full_disk_while_planning_ends_it_all(services: Services) -> None:
    with pytest.raises(StorageError):
        run(BUNDLE, [failing(StorageError("the disk is full"))], services)


def test_a_full_disk_met_by_the_optimizer_itself_while_planning_ends_it_all(services: Services) -> None:
    with pytest.raises(StorageError):
        run(BUNDLE, [failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))], services)


def test_an_interrupt_is_no_finding(services: Services) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(BUNDLE, [failing(KeyboardInterrupt())], services)


@pytest.mark.parametrize("nonsense", [None, "a.py", [Drop(path="a.py", reason="")]])
def test_a_plan_of_something_else_than_changes_is_left_out(services: Services, nonsense: object) -> None:
    outcome = run(BUNDLE, [stage_of(Asking(lambda bundle, context: [nonsense]))], services)  # type: ignore[list-item]
    assert [finding.code for finding in outcome.findings] == ["MB101"]


@dataclass
class Broken:
    """A Content that a third party got wrong."""

    def chunks(self) -> Iterator[bytes]:
        raise ValueError("no bytes")

    def local_path(self) -> Path | None:
        return None


def test_a_new_file_that_cannot_be_read_is_left_out(services: Services) -> None:
    outcome = run(BUNDLE, [asking(Add(path="new", reason="", content=Broken()))], services)
    assert [finding.code for finding in outcome.findings] == ["MB104"]
    assert outcome.bundle == BUNDLE


def test_what_fails_or_is_not_sound_stays_as_it_was(services: Services) -> None:
    bundle = bundle_of({"good": "good!", "bad": "bad!", "wrong": "wrong!", "small": "x"})
    outcome = run(bundle, [cutting()], services)
    assert contents(outcome.bundle) == {"good": b"good", "bad": b"bad!", "wrong": b"wrong!", "small": b""}
    assert told(outcome.findings) == [
        ("MB102", "bad", "failed: cut: crashed; the original stays"),
        ("MB103", "wrong", "not sound when rewritten: it is wrong; the original stays"),
    ]
    assert [(action, path) for action, path, _ in actions(outcome)[0]] == [
        ("rewrite", "good"),
        ("keep", "bad"),
        ("keep", "wrong"),
        ("rewrite", "small"),
    ]


def many() -> Bundle:
    files = {f"pkg/{number}.bin": f"{number % 7}" * (number + 8) for number in range(60)}
    return bundle_of({**files, "bad.bin": "bad and long", "wrong.bin": "wrong and long", "copy.bin": files["pkg/9.bin"]})


def observed(outcome: Outcome, workspace: Workspace) -> tuple[object, ...]:
    """Return all that may be told of an outcome, without where the bytes lie."""

    def of(file: File | None) -> object:
        return file and (file.path, file.size, file.sha256, file.mode, file.kind, file.owner, file.read())

    folder = workspace.companions
    return (
        [of(file) for file in outcome.bundle.values()],
        [[(each.action, each.path, each.reason, of(each.before), of(each.after)) for each in done.changes] for done in outcome.stages],
        outcome.findings,
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()},
    )


def build(cache: Cache | None, workers: int) -> tuple[object, ...]:
    examined: list[Mapping[str, object]] = []

    def plan_by_size(bundle: Bundle, context: Context) -> Iterable[Change]:
        sizes = context.examine("size", list(bundle.values()), lambda file: [file.size, file.path])
        examined.append(sizes)
        for path, (size, _) in sizes.items():
            if size > 60:
                yield Drop(path=path, reason=f"{size} bytes")
            if size % 13 == 0:
                context.report(Finding(code="MB999", message="unlucky", path=path))

    with services_of(cache, workers) as services:
        outcome = run(many(), [stage_of(Asking(plan_by_size)), cutting(1), cutting(3)], services)
        return (*observed(outcome, services.workspace), repr(examined))


def test_the_outcome_does_not_depend_on_workers_or_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**9)
    first = build(None, 1)
    assert len(first[2]) > 6
    assert build(None, 8) == first
    assert build(cache, 8) == first
    assert build(cache, 1) == first
    for path in cache.folder.rglob("result"):
        path.write_bytes(b"damaged")
    assert build(cache, 8) == first
    assert build(cache, 8) == first


def test_options_and_versions_have_results_of_their_own(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10**9)
    bundle = bundle_of({"a": "aaaaaaaa"})
    sizes = []
    for stage in (cutting(1), cutting(2), cutting(1), stage_of(Cut(CutOptions(bytes=4)), ["cut", "version 2"])):
        with services_of(cache) as services:
            sizes.append(run(bundle, [stage], services).bundle.size)
    assert sizes == [7, 6, 7, 4]


def test_a_plan_says_what_a_run_would_do_and_does_nothing(services: Services) -> None:
    stages = [
        asking(Drop(path="b.txt", reason="not needed"), Drop(path="absent", reason="")),
        cutting(),
        asking(Add(path="b.txt", reason="again", content=MemoryContent(b"new"))),
        failing(KeyError()),
    ]
    planned, findings = plan(BUNDLE, stages, services)
    assert [[(type(change).__name__, change.path) for change in each.changes] for each in planned] == [
        [("Drop", "b.txt")],
        [("Rewrite", "a.py"), ("Rewrite", "lib/c.so")],
        [("Add", "b.txt")],
        [],
    ]
    assert all(isinstance(each, Planned) for each in planned)
    assert [finding.code for finding in findings] == ["MB104", "MB104", "MB101"]
    assert list(services.workspace.tree.iterdir()) == []
    outcome = run(BUNDLE, stages, services)
    assert told(outcome.findings) == told(findings)
    assert [[each.path for each in done.changes] for done in outcome.stages] == [[each.path for each in step.changes] for step in planned]


def test_the_order_of_files_stays_and_new_ones_come_last(services: Services) -> None:
    changes = [Add(path="0-first", reason="", content=MemoryContent(b"")), Rewrite(path="b.txt", reason="")]
    assert list(run(BUNDLE, [asking(*changes)], services).bundle) == [*BUNDLE, "0-first"]


def test_what_a_step_dropped_is_not_there_for_the_next(services: Services) -> None:
    bundle = bundle_of({"lib/gone.so": b"\x7fELF gone", "lib/user.so": b"\x7fELF user"})

    def look(bundle: Bundle, context: Context) -> Iterable[Change]:
        beside.extend(path.name for path in context.local(bundle["lib/user.so"]).parent.iterdir())
        return []

    beside: list[str] = []
    dropping = asking(Drop(path="lib/gone.so", reason=""))
    run(bundle, [cutting(), dropping, stage_of(Asking(look))], services)
    assert beside == ["user.so"]
