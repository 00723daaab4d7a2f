from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

from hatch_mlbundle.cache import Cache
from hatch_mlbundle.drafts import Work
from hatch_mlbundle.errors import ArtifactError, ProgramError, StorageError, UnsoundResultError
from hatch_mlbundle.guard import Trust
from hatch_mlbundle.model import Bundle, Change, DiskContent, File, Finding, Rewrite
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Task, option
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.rewriting import Rewriter, Rewritten
from hatch_mlbundle.sandbox import Sandbox
from hatch_mlbundle.workspace import Workspace
from tests.builders import PlainContext, file_of


@dataclass(frozen=True, kw_only=True)
class HalveOptions(Options):
    fault: Literal["", "raise", "program", "unsound", "larger", "equal", "nothing", "full", "full-in-check", "crash-in-check"] = option(
        "What goes wrong.", default=""
    )


class Halve(Optimizer[HalveOptions]):
    """Keeps the first half of a file, and says in a companion what it did."""

    name = "halve"
    version = "1"
    options_type = HalveOptions

    def __init__(self, options: HalveOptions) -> None:
        super().__init__(options)
        self.rewritten: list[str] = []
        self.checked: list[str] = []
        self._lock = threading.Lock()

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return [Rewrite(path=path, reason="too long") for path in bundle]

    def rewrite(self, task: Task, context: Context) -> None:
        with self._lock:
            self.rewritten.append(task.file.path)
        data = task.source.read_bytes()
        match self.options.fault:
            case "raise":
                raise KeyError("lost")
            case "program":
                raise ProgramError("strip: crashed")
            case "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "nothing":
                return
            case "larger":
                task.target.write_bytes(data + b"!")
            case "equal":
                task.target.write_bytes(data[::-1])
            case _:
                task.target.write_bytes(data[: len(data) // 2])
                note = task.companions / f"notes/{task.file.sha256[:8]}.txt"
                note.parent.mkdir()
                note.write_bytes(data[len(data) // 2 :])

    def check(self, task: Task, context: Context) -> None:
        with self._lock:
            self.checked.append(task.file.path)
        assert task.target.stat().st_size < task.file.size
        match self.options.fault:
            case "unsound":
                raise UnsoundResultError("a symbol is gone")
            case "crash-in-check":
                raise ZeroDivisionError
            case "full-in-check":
                raise StorageError("the disk is full")


def work_on(file: File, key: str = "") -> Work:
    return Work(change=Rewrite(path=file.path, reason="", key=key), sources=(file,))


@dataclass
class Bench:
    """A workspace, a pool and perhaps a cache to rewrite with."""

    root: Path
    pool: Executor
    cache: Cache | None
    identity: object = "identity"
    count: int = 0

    def run(self, optimizer: Optimizer, files: Iterable[File], *, key: str = "", neighbours: Iterable[File] = ()) -> dict[str, Rewritten]:
        """Rewrite the files in a workspace of their own, as a build of its own would."""
        self.count += 1
        root = self.root / f"workspace-{self.count}"
        root.mkdir(parents=True)
        self.workspace = Workspace(root)
        rewriter = Rewriter(
            optimizer=optimizer,
            identity=self.identity,
            context=PlainContext(),
            neighbours=list(neighbours),
            workspace=self.workspace,
            sandbox=Sandbox(Trust(self.pool), self.workspace, self.cache),
        )
        return rewriter.run([work_on(file, key) for file in files], self.pool, Silence())

    def companions(self) -> dict[str, bytes]:
        folder = self.workspace.companions
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def leftovers(self) -> list[str]:
        return [path.name for path in self.workspace.tree.rglob("*.mlbundle")]


@pytest.fixture(params=[1, 8])
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with ThreadPoolExecutor(request.param) as pool:
        yield pool


@pytest.fixture
def bench(tmp_path: Path, pool: Executor) -> Bench:
    return Bench(tmp_path / "bench", pool, Cache(tmp_path / "cache", 10**9))


def halve(fault: str = "") -> Halve:
    return Halve(HalveOptions(fault=fault))


def facts(results: dict[str, Rewritten]) -> dict[str, tuple[object, ...]]:
    return {
        path: (each.kept, each.findings, [(file.path, file.size, file.sha256, file.mode, file.read()) for file in each.files])
        for path, each in results.items()
    }


FILES = [file_of(f"pkg/{number}.bin", bytes([number]) * 100 * number) for number in range(1, 12)]
ONE = FILES[0]


def test_what_is_smaller_and_sound_is_taken(bench: Bench) -> None:
    results = bench.run(halve(), FILES)
    for file in FILES:
        made = results[file.path]
        assert (made.kept, made.findings) == (None, ())
        assert made.files == (replace(file_of(file.path, file.read()[: file.size // 2]), content=made.files[0].content),)
    assert len(bench.companions()) == len(FILES)
    assert bench.leftovers() == []


@pytest.mark.parametrize(
    ("fault", "kept"),
    [("nothing", "nothing to gain"), ("larger", "not smaller when rewritten"), ("equal", "not smaller when rewritten")],
)
def test_what_brings_nothing_is_kept_unchecked(bench: Bench, fault: str, kept: str) -> None:
    optimizer = halve(fault)
    assert bench.run(optimizer, [ONE]) == {ONE.path: Rewritten(kept=kept)}
    assert (optimizer.checked, bench.leftovers(), bench.companions()) == ([], [], {})


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("raise", "MB102", "failed: KeyError: 'lost'; the original stays"),
        ("program", "MB102", "failed: strip: crashed; the original stays"),
        ("crash-in-check", "MB102", "failed: ZeroDivisionError; the original stays"),
        ("unsound", "MB103", "not sound when rewritten: a symbol is gone; the original stays"),
    ],
)
def test_what_fails_is_kept_with_a_finding(bench: Bench, fault: str, code: str, message: str) -> None:
    finding = Finding(code=code, message=message, path=ONE.path, optimizer="halve")
    for _ in range(2):
        result = bench.run(halve(fault), [ONE])[ONE.path]
        assert result.files == ()
        assert result.kept
        assert result.findings == (finding,)
        assert (bench.leftovers(), bench.companions()) == ([], {})


def test_a_failure_is_no_result_that_a_cache_keeps(bench: Bench) -> None:
    bench.run(halve("raise"), [ONE])
    assert bench.run(halve(), [ONE])[ONE.path].kept is None


@pytest.mark.parametrize("fault", ["full", "full-in-check"])
def test_a_full_disk_ends_it_all(bench: Bench, fault: str) -> None:
    with pytest.raises(StorageError, match=r"disk (is )?full"):
        bench.run(halve(fault), FILES)


@pytest.mark.parametrize("fault", ["", "nothing", "equal"])
def test_warm_is_cold(bench: Bench, tmp_path: Path, fault: str) -> None:
    cold = facts(bench.run(halve(fault), FILES))
    companions = bench.companions()
    warm_optimizer = halve(fault)
    assert facts(bench.run(warm_optimizer, FILES)) == cold
    assert bench.companions() == companions
    assert (warm_optimizer.rewritten, warm_optimizer.checked) == ([], [])
    assert facts(Bench(tmp_path / "without", bench.pool, None).run(halve(fault), FILES)) == cold


def test_an_unsound_result_is_tried_again(bench: Bench) -> None:
    """It may have been unsound for the want of a neighbour."""
    first, second = halve("unsound"), halve("unsound")
    assert facts(bench.run(first, [ONE])) == facts(bench.run(second, [ONE]))
    assert second.checked == [ONE.path]


def test_whatever_decides_the_result_is_in_the_key(bench: Bench) -> None:
    def works(key: str = "", file: File = ONE) -> bool:
        optimizer = halve()
        bench.run(optimizer, [file], key=key)
        return bool(optimizer.rewritten)

    assert works()
    assert not works()
    assert not works(file=file_of("elsewhere", ONE.read()))
    assert works(key="debug")
    assert works(file=file_of(ONE.path, b"other"))
    bench.identity = "another version"
    assert works()
    assert not works()


def test_two_files_with_the_same_bytes_are_both_right(bench: Bench) -> None:
    same = [file_of(f"{number}/x.so", b"same data") for number in range(16)]
    for _ in range(2):
        results = bench.run(halve(), same)
        assert {path: made.files[0].read() for path, made in results.items()} == {file.path: b"same" for file in same}
        assert list(bench.companions().values()) == [b" data"]


@pytest.mark.parametrize("name", ["entry.json", "result-0", "companion-0"])
@pytest.mark.parametrize("remove", [True, False])
def test_a_damaged_entry_is_made_anew(bench: Bench, name: str, remove: bool) -> None:
    expected = facts(bench.run(halve(), FILES))
    companions = bench.companions()
    assert bench.cache is not None
    for path in bench.cache.folder.rglob(name):
        path.unlink()
        if not remove:
            path.write_bytes(b"x")
    again = halve()
    assert facts(bench.run(again, FILES)) == expected
    assert bench.companions() == companions
    assert sorted(again.rewritten) == sorted(file.path for file in FILES)
    once_more = halve()
    assert facts(bench.run(once_more, FILES)) == expected
    assert once_more.rewritten == []


def test_a_cache_that_is_pruned_meanwhile_loses_nothing(bench: Bench) -> None:
    expected = facts(bench.run(halve(), FILES))
    assert bench.cache is not None
    bench.cache.prune(max_size=0)
    assert facts(bench.run(halve(), FILES)) == expected


def test_the_results_do_not_hang_on_the_cache(bench: Bench) -> None:
    results = bench.run(halve(), FILES)
    results = bench.run(halve(), FILES)
    assert bench.cache is not None
    bench.cache.prune(max_size=0)
    assert [results[file.path].files[0].read() for file in FILES] == [file.read()[: file.size // 2] for file in FILES]


def test_the_original_is_never_written_to(bench: Bench, tmp_path: Path) -> None:
    original = tmp_path / "original.bin"
    original.write_bytes(ONE.read())
    bench.run(halve(), [replace(ONE, content=DiskContent(original))])
    assert original.read_bytes() == ONE.read()


class Neighbourly(Optimizer[Options]):
    """Succeeds only beside its neighbour, as a loader does."""

    name = "neighbourly"
    version = "1"

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return []

    def rewrite(self, task: Task, context: Context) -> None:
        for place in (task.source, task.target):
            assert (place.parent / "../lib/neighbour.so").read_bytes() == b"neighbour"
        assert not task.target.exists()
        task.target.write_bytes(b"")


def test_neighbours_stand_beside_it(bench: Bench) -> None:
    neighbour, file = file_of("lib/neighbour.so", b"neighbour"), file_of("pkg/a.so", b"data")
    assert bench.run(Neighbourly(Options()), [file], neighbours=[neighbour, file])["pkg/a.so"].findings == ()


@dataclass
class Damaged:
    """A Content that cannot be read."""

    def chunks(self) -> Iterator[bytes]:
        raise ArtifactError("a.whl", "is damaged")

    def local_path(self) -> Path | None:
        return None


def test_an_input_that_cannot_be_read_ends_it_all(bench: Bench) -> None:
    with pytest.raises(ArtifactError):
        bench.run(halve(), [replace(ONE, content=Damaged())])


class Reporting(Optimizer[Options]):
    """Tells of something while it works."""

    name = "reporting"
    version = "1"

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return []

    def rewrite(self, task: Task, context: Context) -> None:
        context.report(Finding(code="MB999", message="odd", path=task.file.path))
        task.target.write_bytes(b"")


def test_what_is_reported_while_working_is_reported_again_when_warm(bench: Bench) -> None:
    told = []
    for _ in range(2):
        context = PlainContext()
        root = bench.root / f"own-{len(told)}"
        root.mkdir(parents=True)
        workspace = Workspace(root)
        sandbox = Sandbox(Trust(bench.pool), workspace, bench.cache)
        rewriter = Rewriter(
            optimizer=Reporting(Options()), identity="x", context=context, neighbours=[], workspace=workspace, sandbox=sandbox
        )
        results = rewriter.run([work_on(ONE)], bench.pool, Silence())
        told.append([each.code for each in (*context.findings, *results[ONE.path].findings)])
    assert told == [["MB999"], ["MB999"]]


class Counter(Silence):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.units = 0
        self._lock = threading.Lock()

    def advance(self, units: int = 1) -> None:
        with self._lock:
            self.units += units


@pytest.mark.parametrize("fault", ["", "raise", "nothing"])
def test_every_file_counts_once(bench: Bench, fault: str) -> None:
    for number in range(2):
        progress = Counter()
        root = bench.root / f"counted-{number}"
        root.mkdir(parents=True)
        workspace = Workspace(root)
        sandbox = Sandbox(Trust(bench.pool), workspace, bench.cache)
        rewriter = Rewriter(
            optimizer=halve(fault), identity="x", context=PlainContext(), neighbours=[], workspace=workspace, sandbox=sandbox
        )
        rewriter.run([work_on(file) for file in FILES], bench.pool, progress)
        assert progress.units == len(FILES)


def test_a_companion_that_is_put_twice_at_once_leaves_no_other_name(tmp_path: Path) -> None:
    bench_pool = ThreadPoolExecutor(8)
    cache = Cache(tmp_path / "cache", 10**9)
    same = [file_of(f"{number}/x.so", b"same data") for number in range(32)]
    with bench_pool:
        bench = Bench(tmp_path / "bench", bench_pool, cache)
        for _ in range(40):
            bench.run(halve(), same)
            assert [path.name for path in bench.workspace.results.iterdir()] == [hashlib.sha256(b"same").hexdigest()]
            assert len(bench.companions()) == 1
