from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from hatch_mlbundle.applied import Applied, left, told
from hatch_mlbundle.model import Bundle, File, Kind, Leave, Tell
from hatch_mlbundle.optimizer import Optimizer, Options
from hatch_mlbundle.pipeline import Done, Stage
from hatch_mlbundle.verification.replay import Site, changes, replay
from tests.builders import bundle_of, file_of


class Named(Optimizer[Options]):
    name = "named"
    version = "1"

    def plan(self, bundle: Bundle, context: object) -> tuple[()]:
        return ()


def step(*changes: Applied) -> Done:
    return Done(stage=Stage(optimizer=Named(Options()), distribution="demo", version="1", identity=None), changes=changes)


def change(
    action: Literal["drop", "keep", "rewrite", "add", "link"], path: str, before: File | None = None, after: File | None = None
) -> Applied:
    return Applied(action=action, path=path, reason="planned", before=before, after=after)


def linked(file: File, target: str) -> File:
    return replace(file, size=0, kind=Kind.LINK, link=target)


BEFORE = bundle_of({"a": "a", "b": "b", "c": "c", "d/e": "a"})
SMALL = file_of("b", b"")
SMALLER = replace(SMALL, mode=0o600)
LINK = linked(BEFORE["d/e"], "../a")
STAGES = [
    step(change("drop", "c", BEFORE["c"]), change("rewrite", "b", BEFORE["b"], SMALL), change("keep", "a", BEFORE["a"], BEFORE["a"])),
    step(change("add", "new", None, file_of("new", b"n")), change("rewrite", "b", SMALL, SMALLER)),
    step(change("link", "d/e", BEFORE["d/e"], LINK)),
]


def contents(bundle: Bundle) -> dict[str, bytes | str]:
    return {path: file.link or file.read() for path, file in bundle.items()}


def actions(stages: tuple[Done, ...]) -> list[dict[str, str]]:
    return [{each.path: each.action for each in done.changes} for done in stages]


def test_without_exceptions_it_is_what_was_done() -> None:
    again = replay(BEFORE, STAGES, ())
    assert list(again.bundle) == ["a", "b", "d/e", "new"]
    assert again.bundle["b"] is SMALLER
    assert again.bundle["d/e"].link == "../a"
    assert again.stages == tuple(STAGES)


def test_with_everything_put_back_it_is_the_bundle_before() -> None:
    again = replay(BEFORE, STAGES, changes(STAGES))
    assert again.bundle == BEFORE
    assert list(again.bundle) == list(BEFORE)
    assert actions(again.stages) == [{"c": "keep", "b": "keep", "a": "keep"}, {"b": "keep"}, {"d/e": "keep"}]


def test_a_dropped_file_comes_back_in_its_place() -> None:
    assert list(replay(BEFORE, STAGES, [Site(0, "c")]).bundle) == ["a", "b", "c", "d/e", "new"]


def test_what_starts_from_a_change_that_was_put_back_is_not_made() -> None:
    again = replay(BEFORE, STAGES, {Site(0, "b"): "it crashed"})
    assert again.bundle["b"] is BEFORE["b"]
    assert [each.reason for done in again.stages for each in done.changes if each.path == "b"] == [
        "it crashed",
        "what an earlier step made of it was put back",
    ]


def test_the_later_of_two_changes_can_be_put_back_alone() -> None:
    assert replay(BEFORE, STAGES, [Site(1, "b")]).bundle["b"] is SMALL


def test_no_link_leads_to_a_file_that_is_another_now() -> None:
    rewritten = file_of("a", b"other")
    stages = [step(change("rewrite", "a", BEFORE["a"], rewritten)), *STAGES[2:]]
    again = replay(BEFORE, stages, [Site(0, "a")])
    assert again.bundle["d/e"].link is None
    assert contents(again.bundle) == contents(BEFORE)


def test_every_change_is_a_site_and_what_was_kept_is_none() -> None:
    assert list(changes(STAGES)) == [Site(0, "c"), Site(0, "b"), Site(1, "new"), Site(1, "b"), Site(2, "d/e")]


MODEL = bundle_of({"m/config": "c", "m/big": "big", "x.pt": "x", "code": "y"})


def _leave(place: str, *files: File) -> Leave:
    paths = tuple(file.path for file in files)
    is_file = paths == (place,)
    return Leave(path=paths[0], reason="leaves", paths=paths, name=place, place=place, is_file=is_file, files=files, form=None)


def _leaving(*leaves: Leave) -> Done:
    def render(leaves: Collection[Leave]) -> bytes | None:
        return repr([(each.name, [file.read() for file in each.files]) for each in leaves]).encode() if leaves else None

    tale = told(Tell(path="told", reason="tells", render=render), None, leaves)
    assert tale
    gone = [applied for leave in leaves for applied in left(leave, {file.path: file for file in leave.files})]
    return step(*gone, tale)


def test_a_model_leaves_as_it_then_is() -> None:
    small, onnx = file_of("m/big", b"b"), file_of("x.onnx", b"o")
    stages = [
        step(change("rewrite", "m/big", MODEL["m/big"], small), change("drop", "m/config", MODEL["m/config"])),
        step(change("drop", "x.pt", MODEL["x.pt"]), change("add", "x.onnx", None, onnx)),
        _leaving(_leave("m", small), _leave("x.onnx", onnx)),
    ]
    assert contents(replay(MODEL, stages, ()).bundle) == {"code": b"y", "told": b"[('m', [b'b']), ('x.onnx', [b'o'])]"}
    again = replay(MODEL, stages, {Site(0, "m/big"), Site(0, "m/config")})
    assert contents(again.bundle) == {"code": b"y", "told": b"[('m', [b'big', b'c']), ('x.onnx', [b'o'])]"}
    assert [each.leave.name for each in again.stages[2].changes if each.leave] == ["m", "m", "x.onnx"]
    assert replay(MODEL, again.stages, ()) == again


def test_a_model_stays_where_what_it_was_made_of_is_back_or_it_is_put_back_itself() -> None:
    onnx = file_of("x.onnx", b"o")
    stages = [
        step(change("drop", "x.pt", MODEL["x.pt"]), change("add", "x.onnx", None, onnx)),
        _leaving(_leave("m", MODEL["m/big"], MODEL["m/config"]), _leave("x.onnx", onnx)),
    ]
    again = replay(MODEL, stages, {Site(0, "x.pt"), Site(0, "x.onnx"), Site(1, "m/config")})
    assert again.bundle == MODEL
    assert {each.action for done in again.stages for each in done.changes} == {"keep"}
