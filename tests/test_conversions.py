"""Conversions: several files made out of several, all of it or nothing."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatch_mlbundle.cache import Cache
from hatch_mlbundle.errors import KeptError, ModelError, StorageError, UnsoundResultError
from hatch_mlbundle.guard import OURS
from hatch_mlbundle.model import Add, Bundle, Change, Convert, Drop, File, Keep, Kind, Link, MemoryContent, Rewrite
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Optimizer, Options
from hatch_mlbundle.pipeline import Outcome, Services, Stage, plan, run
from hatch_mlbundle.progress import Silence
from hatch_mlbundle.verification.replay import Site, replay
from hatch_mlbundle.workspace import temporary_workspace
from tests.builders import bundle_of

FILES = {
    "m/model.bin": "12345678",
    "m/index.json": '{"size": 8}',
    "m/config.json": "{}",
    "m/LICENSE": "free",
}
CONVERT = Convert(
    path="m/model.bin",
    reason="halved",
    sources=("m/model.bin", "m/index.json"),
    outputs=("m/model.half", "m/index.json"),
    reads=("m/config.json",),
)

ERRORS: Mapping[str, Exception] = {
    "damaged": ModelError("m/model.bin: its header is damaged"),
    "kept": KeptError("it is fine as it is"),
    "unsound": UnsoundResultError("not the same numbers"),
    "bug": ZeroDivisionError(),
    "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
}


class Halving(Optimizer[Options]):
    """Writes each second byte of a model into a file of another name, and its size into the index."""

    name = "halving"
    version = "1"

    def __init__(self, *changes: Change, fault: str = "") -> None:
        super().__init__(Options())
        self.changes, self.fault = changes or (CONVERT,), fault
        self.converted: list[str] = []

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return self.changes

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        self.converted.append(task.change.path)
        assert list(task.target.iterdir()) == list(task.scratch.iterdir()) == []
        assert task.sources["m/config.json"].read_text() == "{}"
        half = task.sources["m/model.bin"].read_bytes()[::2]
        (task.target / "m").mkdir()
        (task.target / "m/model.half").write_bytes(half)
        self._go_wrong(task, half)
        return {"m/model.half": {"kept every": 2, "tensors": []}}

    def _go_wrong(self, task: ConvertTask, half: bytes) -> None:
        if self.fault in ERRORS:
            raise ERRORS[self.fault]
        match self.fault:
            case "none":
                (task.target / "m/model.half").unlink()
            case "larger":
                (task.target / "m/model.half").write_bytes(bytes(100))
            case "strange":
                (task.target / "m/other").write_bytes(b"")
            case "link":
                (task.target / "m/index.json").symlink_to("/etc/passwd")
            case "":
                (task.target / "m/index.json").write_text(f'{{"size": {len(half)}}}')


def stage_of(optimizer: Optimizer[Options]) -> Stage:
    return Stage(optimizer=optimizer, distribution=OURS, version="1.0", identity=[optimizer.name, optimizer.version])


def refuses(change: Change) -> str | None:
    return "installers need it" if change.path.endswith("LICENSE") and not isinstance(change, Keep) else None


@contextmanager
def services_of(cache: Cache | None = None) -> Iterator[Services]:
    with temporary_workspace() as workspace, ThreadPoolExecutor(2) as pool:
        yield Services(workspace=workspace, cache=cache, pool=pool, progress=Silence(), refuses=refuses)


def converted(
    *optimizers: Optimizer[Options], cache: Cache | None = None, files: Mapping[str, str] = FILES
) -> tuple[Outcome, dict[str, bytes]]:
    with services_of(cache) as services:
        outcome = run(bundle_of(files), [stage_of(each) for each in optimizers], services)
        return outcome, {path: file.read() for path, file in outcome.bundle.items()}


def rows(outcome: Outcome) -> list[tuple[str, str, str, str | None]]:
    return [(each.action, each.path, each.reason, each.group) for each in outcome.stages[0].changes]


def test_sources_go_and_outputs_come() -> None:
    outcome, contents = converted(Halving())
    assert contents == {"m/index.json": b'{"size": 4}', "m/config.json": b"{}", "m/LICENSE": b"free", "m/model.half": b"1357"}
    assert rows(outcome) == [
        ("drop", "m/model.bin", "halved: now in m/index.json, m/model.half", "m/model.bin"),
        ("rewrite", "m/index.json", "halved", "m/model.bin"),
        ("add", "m/model.half", "halved", "m/model.bin"),
    ]
    assert [each.detail for each in outcome.stages[0].changes] == [None, None, {"kept every": 2, "tensors": []}]
    assert outcome.findings == ()


def test_a_new_file_has_the_mode_and_owner_of_its_source_and_the_kind_of_its_name() -> None:
    with services_of() as services:
        outcome = run(bundle_of(FILES), [stage_of(Halving())], services)
    made = outcome.bundle["m/model.half"]
    assert (made.mode, made.owner, made.kind, made.link) == (0o644, "m", Kind.OTHER, None)
    assert outcome.bundle["m/index.json"].kind is Kind.DATA


def test_a_result_from_the_cache_is_the_same(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**9)
    first, second = Halving(), Halving()
    cold, before = converted(first, cache=cache)
    warm, after = converted(second, cache=cache)
    assert (first.converted, second.converted) == (["m/model.bin"], [])
    assert before == after
    assert rows(cold) == rows(warm)
    assert [each.detail for each in cold.stages[0].changes] == [each.detail for each in warm.stages[0].changes]


@pytest.mark.parametrize("changed", ["m/model.bin", "m/index.json"])
def test_another_source_is_converted_anew(tmp_path: Path, changed: str) -> None:
    cache, again = Cache(tmp_path, 10**9), Halving()
    converted(Halving(), cache=cache)
    converted(again, cache=cache, files={**FILES, changed: f"{FILES[changed]} and more"})
    assert again.converted == ["m/model.bin"]


@pytest.mark.parametrize(
    "other", [{"path": "m/config.json"}, {"sources": (*CONVERT.sources, *CONVERT.reads), "reads": ()}], ids=["path", "sources"]
)
def test_another_conversion_of_the_same_files_is_carried_out_anew(tmp_path: Path, other: Mapping[str, object]) -> None:
    cache, again = Cache(tmp_path, 10**9), Halving(changed(**other))
    converted(Halving(), cache=cache)
    converted(again, cache=cache)
    assert len(again.converted) == 1


@pytest.mark.parametrize(
    ("fault", "kept", "finding"),
    [
        ("none", "nothing to gain", None),
        ("larger", "not smaller when converted", None),
        ("kept", "it is fine as it is", None),
        ("damaged", "failed: m/model.bin: its header is damaged", "MB102"),
        ("bug", "failed: ZeroDivisionError", "MB102"),
        ("unsound", "not sound when rewritten: not the same numbers", "MB103"),
        ("strange", "not sound when rewritten: it wrote m/other, which it did not plan", "MB103"),
        ("link", "not sound when rewritten: it wrote m/index.json, which is no plain file", "MB103"),
    ],
)
def test_all_or_nothing(fault: str, kept: str, finding: str | None) -> None:
    outcome, contents = converted(Halving(fault=fault))
    assert contents == {path: text.encode() for path, text in FILES.items()}
    assert rows(outcome) == [("keep", "m/model.bin", kept, None)]
    assert [(each.code, each.path) for each in outcome.findings] == ([(finding, "m/model.bin")] if finding else [])
    assert all(each.message == f"{kept}; the originals stay" for each in outcome.findings)


def test_a_full_disk_ends_it_all() -> None:
    with pytest.raises(StorageError):
        converted(Halving(fault="full"))


def test_what_may_grow_may() -> None:
    optimizer = Halving(Convert(**{**{name: getattr(CONVERT, name) for name in CONVERT.__slots__}, "may_grow": True}), fault="larger")
    outcome, contents = converted(optimizer)
    assert contents["m/model.half"] == bytes(100)
    assert outcome.findings == ()


def test_what_is_only_read_stays() -> None:
    change = changed(path="m/config.json", sources=(), outputs=("m/model.half",), reads=("m/config.json", "m/model.bin"), may_grow=True)
    outcome, contents = converted(Halving(change, fault="larger"))
    assert contents == {**{path: text.encode() for path, text in FILES.items()}, "m/model.half": bytes(100)}
    assert rows(outcome) == [("add", "m/model.half", "halved", "m/config.json")]


def changed(**fields: object) -> Convert:
    return Convert(**{**{name: getattr(CONVERT, name) for name in CONVERT.__slots__}, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (changed(path="m/LICENSE"), "its path is no file that it converts or reads"),
        (changed(sources=("m/model.bin", "m/none")), "there is no m/none"),
        (changed(reads=("m/none",)), "there is no m/none"),
        (changed(sources=("m/model.bin", "m/link")), "m/link is a link, which has no bytes of its own"),
        (changed(outputs=("m/config.json",)), "m/config.json: a file of this name is there already"),
        (changed(outputs=("../out",)), "../out: the path leaves the bundle"),
        (changed(outputs=("m/model.bin/inside",)), "m/model.bin/inside: one of its folders is a file or a link"),
        (changed(sources=("m/model.bin", "m/LICENSE")), "installers need it"),
        (changed(outputs=("m/NEW-LICENSE",)), "installers need it"),
    ],
)
def test_a_muddled_conversion_is_refused(change: Convert, problem: str) -> None:
    optimizer = Halving(change)
    link = Link(path="m/link", reason="", target="LICENSE")
    outcome, _ = converted(Halving(link), optimizer, files={**FILES, "m/link": "free"})
    assert optimizer.converted == []
    assert [(each.code, each.message) for each in outcome.findings] == [("MB104", f"convert was refused: {problem}")]


@pytest.mark.parametrize(
    "other",
    [
        Drop(path="m/index.json", reason=""),
        Add(path="m/model.half", reason="", content=MemoryContent(b"")),
        Rewrite(path="m/model.bin", reason=""),
        CONVERT,
    ],
)
def test_two_changes_of_one_file_do_not_go_together(other: Change) -> None:
    outcome, _ = converted(Halving(CONVERT, other))
    assert [(each.code, each.path) for each in outcome.findings] == [("MB104", other.path)]
    assert outcome.findings[0].message.endswith("was refused: the same step asked for another change of the file before")


def test_a_file_that_another_conversion_adds_is_taken() -> None:
    below = changed(path="m/config.json", sources=("m/config.json",), outputs=("m/model.half/x",), reads=())
    outcome, _ = converted(Halving(CONVERT, below))
    assert [each.message for each in outcome.findings] == ["convert was refused: m/model.half/x: one of its folders is a file or a link"]


def test_planning_carries_nothing_out() -> None:
    optimizer = Halving()
    with services_of() as services:
        planned, findings = plan(bundle_of(FILES), [stage_of(optimizer)], services)
    assert (planned[0].changes, findings, optimizer.converted) == ((CONVERT,), [], [])


@dataclass(frozen=True)
class Replayed:
    contents: dict[str, bytes]
    actions: dict[str, str]


def replayed(reverted: Iterable[Site]) -> Replayed:
    class Cutting(Optimizer[Options]):
        name = "cutting"
        version = "1"

        def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
            return [Drop(path="m/model.half", reason="not needed"), Drop(path="m/LICENCE", reason="never there")]

    before = bundle_of(FILES)
    with services_of() as services:
        outcome = run(before, [stage_of(Halving()), stage_of(Cutting(Options()))], services)
        again = replay(before, outcome.stages, set(reverted))
        contents = {path: file.read() for path, file in again.bundle.items()}
    return Replayed(contents, {each.path: each.action for done in again.stages for each in done.changes})


@pytest.mark.parametrize("path", ["m/model.bin", "m/index.json", "m/model.half"])
def test_what_was_made_together_is_put_back_together(path: str) -> None:
    again = replayed([Site(0, path)])
    assert again.contents == {path: text.encode() for path, text in FILES.items()}
    assert again.actions["m/index.json"] == again.actions["m/model.bin"] == "keep"


def test_a_conversion_stays_when_a_later_change_goes_back() -> None:
    assert replayed([Site(1, "m/model.half")]).contents["m/model.half"] == b"1357"


def test_mode_and_bytes_do_not_hang_on_the_umask(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no umask")
    old = os.umask(0o077)
    try:
        with services_of() as services:
            outcome = run(bundle_of(FILES), [stage_of(Halving())], services)
            modes: list[int] = [file.mode for file in outcome.bundle.values() if isinstance(file, File)]
    finally:
        os.umask(old)
    assert set(modes) == {0o644}
