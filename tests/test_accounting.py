from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.accounting import Ledger
from hatch_mlbundle.applied import Applied
from hatch_mlbundle.bundles.artifact import Account, Side
from hatch_mlbundle.manifest import FileRow, Saved, StepRow
from hatch_mlbundle.model import Bundle, Change, File
from hatch_mlbundle.optimizer import Context, Optimizer, Options
from hatch_mlbundle.pipeline import Done, Stage
from tests.builders import file_of

PATHS = ["RECORD", "a.py", "b/c.so", "b/d.bin"]


class Nothing(Optimizer[Options]):
    """Plans nothing: the stages here are already done."""

    name = "nothing"
    version = "1"

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return []


STAGE = Stage(optimizer=Nothing(Options()), distribution="demo", version="3", identity=None)


def packed_size(file: File) -> int:
    """Return what a file takes when compressed: anything, but the same each time; sometimes more than the file itself."""
    return int(hashlib.sha256(f"{file.path} {file.sha256}".encode()).hexdigest()[:4], 16) % (file.size + 20)


def side_of(bundle: Bundle, structure: int, packs: bool) -> Side:
    compressed = {path: packed_size(file) for path, file in bundle.items()}
    if not packs:
        return Side(bundle=bundle, account=Account(size=bundle.size, sha256="0" * 64, structure=0, compressed=None))
    size = sum(compressed.values()) + structure
    return Side(bundle=bundle, account=Account(size=size, sha256="0" * 64, structure=structure, compressed=compressed))


def applied(action: str, path: str, before: File | None, after: File | None) -> Applied:
    return Applied(action=action, path=path, reason=f"{action} it", before=before, after=after)  # type: ignore[arg-type]


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    """Draw a bundle and a chain of steps on it, each of which does at most one thing to a path; RECORD may change in writing."""
    packs = draw(st.booleans())
    data = st.binary(max_size=40)
    state = {path: file_of(path, draw(data)) for path in PATHS if draw(st.booleans())}
    before = side_of(Bundle(state.values()), draw(st.integers(0, 99)), packs)
    stages = []
    for _ in range(draw(st.integers(0, 5))):
        changes = []
        for path in draw(st.permutations(PATHS)):
            old = state.get(path)
            action = draw(st.sampled_from(["none", "keep", "drop", "rewrite", "link"] if old else ["none", "add"]))
            if action == "none":
                continue
            new = {"keep": old, "drop": None, "link": file_of(path, b"", link="x")}.get(action, file_of(path, draw(data)))
            changes.append(applied(action, path, old, new))
            state.pop(path, None)
            if new:
                state[path] = new
        stages.append(Done(stage=STAGE, changes=tuple(changes)))
    if draw(st.booleans()):
        state["RECORD"] = file_of("RECORD", draw(data))
    after = side_of(Bundle(state.values()), draw(st.integers(0, 99)), packs)
    return Ledger(before=before, after=after, stages=tuple(stages), measure=packed_size)


def total(saved: Iterable[Saved]) -> tuple[int, int]:
    each = list(saved)
    return sum(one.installed for one in each), sum(one.compressed or 0 for one in each)


@settings(deadline=None)
@given(ledgers())
def test_the_totals_reconcile(ledger: Ledger) -> None:
    files = ledger.files()
    steps = ledger.steps(files)
    artifact = ledger.artifact("a.whl", "wheel")
    for moment in ("before", "after"):
        totals = getattr(artifact, moment)
        states = [state for row in files if (state := getattr(row, moment))]
        assert sum(state.size for state in states) == totals.installed
        assert len(states) == totals.files
        if ledger.before.account.compressed is not None:
            assert sum(state.compressed for state in states) + totals.structure == totals.size
        else:
            assert {state.compressed for state in states} <= {None}
            assert totals.installed == totals.size
    changes = [change for row in files for change in row.changes]
    for number, step in enumerate(steps):
        assert total([step.saved]) == total(change.saved for change in changes if change.step == number)
    installed, compressed = total([*(step.saved for step in steps), ledger.remainder(steps)])
    assert installed == artifact.before.installed - artifact.after.installed
    if ledger.before.account.compressed is not None:
        assert compressed == artifact.before.size - artifact.after.size
    else:
        saved = [*(change.saved for change in changes), *(step.saved for step in steps), ledger.remainder(steps)]
        assert {each.compressed for each in saved} == {None}


@settings(deadline=None)
@given(ledgers())
def test_a_files_changes_lead_from_its_first_state_to_its_last(ledger: Ledger) -> None:
    for row in ledger.files():
        sizes = [(state.size, state.compressed or 0) if state else (0, 0) for state in (row.before, row.after)]
        assert total(change.saved for change in row.changes) == (sizes[0][0] - sizes[1][0], sizes[0][1] - sizes[1][1])
        steps = [change.step for change in row.changes if change.step is not None]
        assert steps == sorted(set(steps))


@settings(deadline=None)
@given(ledgers())
def test_a_file_has_one_row_in_the_order_of_paths(ledger: Ledger) -> None:
    paths = [row.path for row in ledger.files()]
    made = {applied.path for done in ledger.stages for applied in done.changes if applied.action != "keep"}
    assert paths == sorted({*ledger.before.bundle, *ledger.after.bundle, *made})


@settings(deadline=None)
@given(ledgers())
def test_what_was_kept_saved_nothing(ledger: Ledger) -> None:
    kept = [change for row in ledger.files() for change in row.changes if change.action == "keep"]
    assert all(total([change.saved]) == (0, 0) for change in kept)


def ledger_of(before: dict[str, bytes], after: dict[str, bytes], *stages: list[Applied]) -> Ledger:
    sides = [side_of(Bundle(file_of(path, data) for path, data in files.items()), 7, True) for files in (before, after)]
    done = tuple(Done(stage=STAGE, changes=tuple(changes)) for changes in stages)
    return Ledger(before=sides[0], after=sides[1], stages=done, measure=packed_size)


def rows(ledger: Ledger) -> tuple[list[FileRow], list[StepRow]]:
    files = ledger.files()
    return list(files), list(ledger.steps(files))


def test_a_file_rewritten_twice_saves_in_both_steps() -> None:
    first, second, third = (file_of("a", bytes(size)) for size in (100, 60, 10))
    ledger = ledger_of(
        {"a": bytes(100)}, {"a": bytes(10)}, [applied("rewrite", "a", first, second)], [applied("rewrite", "a", second, third)]
    )
    files, steps = rows(ledger)
    assert [change.saved.installed for change in files[0].changes] == [40, 50]
    assert [step.saved for step in steps] == [
        Saved(installed=40, compressed=packed_size(first) - packed_size(second)),
        Saved(installed=50, compressed=packed_size(second) - packed_size(third)),
    ]
    assert [(step.optimizer, step.distribution, step.version, step.changes) for step in steps] == [
        ("nothing", "demo", "3", {"rewrite": 1})
    ] * 2


def test_what_the_writing_changed_belongs_to_no_step() -> None:
    files, steps = rows(ledger_of({"RECORD": bytes(50)}, {"RECORD": bytes(30)}, []))
    (change,) = files[0].changes
    assert (change.step, change.action, change.reason, change.saved.installed) == (None, "rewrite", "by writing the artifact", 20)
    assert steps[0].saved == Saved(installed=0, compressed=0)


def test_what_the_writing_added_or_dropped_is_called_so() -> None:
    files, _ = rows(ledger_of({"old": bytes(5)}, {"new": bytes(7)}, []))
    changes = [(row.path, change.step, change.action, change.saved.installed) for row in files for change in row.changes]
    assert changes == [("new", None, "add", -7), ("old", None, "drop", 5)]


def test_a_file_added_and_dropped_again_counts_in_both_steps() -> None:
    added = file_of("new", b"x")
    ledger = ledger_of({}, {}, [applied("add", "new", None, added)], [applied("drop", "new", added, None)])
    files, steps = rows(ledger)
    assert [(row.path, row.before, row.after, row.owner) for row in files] == [("new", None, None, added.owner)]
    assert [step.saved.installed for step in steps] == [-1, 1]
    assert ledger.remainder(steps) == Saved(installed=0, compressed=0)


def test_a_file_dropped_and_added_again_has_one_row() -> None:
    old, new = file_of("a", bytes(9)), file_of("a", bytes(2))
    ledger = ledger_of({"a": bytes(9)}, {"a": bytes(2)}, [applied("drop", "a", old, None)], [applied("add", "a", None, new)])
    ((row,), steps) = rows(ledger)
    assert [(change.action, change.saved.installed) for change in row.changes] == [("drop", 9), ("add", -2)]
    assert [step.saved.installed for step in steps] == [9, -2]


def test_a_later_kind_and_owner_are_told() -> None:
    before, after = file_of("a", b"x"), replace(file_of("a", b""), owner="someone")
    ledger = Ledger(
        before=side_of(Bundle([before]), 0, True),
        after=side_of(Bundle([after]), 0, True),
        stages=(Done(stage=STAGE, changes=(applied("rewrite", "a", before, after),)),),
        measure=packed_size,
    )
    assert [row.owner for row in ledger.files()] == ["someone"]


def test_what_is_in_the_artifact_is_not_measured_again() -> None:
    first, second = file_of("a", bytes(100)), file_of("a", bytes(60))
    stages = [[applied("rewrite", "a", first, second)], [applied("keep", "a", second, second)]]
    asked: list[File] = []

    def measure(file: File) -> int:
        asked.append(file)
        return 10**6

    files, steps = rows(replace(ledger_of({"a": bytes(100)}, {"a": bytes(60)}, *stages), measure=measure))
    assert asked == []
    assert [change.saved.installed for change in files[0].changes] == [40, 0]
    assert [step.saved.compressed for step in steps] == [packed_size(first) - packed_size(second), 0]
