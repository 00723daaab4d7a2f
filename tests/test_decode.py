from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from hatch_mlbundle.decode import decode
from hatch_mlbundle.errors import ManifestError


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    flag: bool = False
    maybe: int | None = None
    inner: Inner = Inner(size=0)
    rows: tuple[Inner, ...] = ()
    counts: Mapping[str, int] | None = None
    anything: Mapping[str, Any] | None = None


def test_every_type_is_read() -> None:
    document = {
        "name": "x",
        "flag": True,
        "maybe": 3,
        "inner": {"size": 1, "of a later version": 2},
        "rows": [{"size": 2}],
        "counts": {"a": 1},
        "anything": {"a": 1, "b": [None]},
    }
    assert decode(Outer, document, "x.json") == Outer(
        name="x",
        flag=True,
        maybe=3,
        inner=Inner(size=1),
        rows=(Inner(size=2),),
        counts={"a": 1},
        anything={"a": 1, "b": [None]},
    )


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "x.json: must be an object, not '[]'"),
        ({}, "x.json: name is missing"),
        ({"name": 3}, "x.json: name: must be a string, not '3'"),
        ({"name": "x", "flag": 1}, "x.json: flag: must be true or false, not '1'"),
        ({"name": "x", "maybe": True}, "x.json: maybe: must be an integer, not 'True'"),
        ({"name": "x", "maybe": 2**63}, "x.json: maybe: must be an integer of at most 63 bits"),
        ({"name": "x", "counts": {"a": -(10**400)}}, "x.json: counts.a: must be an integer of at most 63 bits"),
        ({"name": "x", "inner": 3}, "x.json: inner: must be an object, not '3'"),
        ({"name": "x", "inner": {}}, "x.json: inner: size is missing"),
        ({"name": "x", "rows": {}}, "x.json: rows: must be a list, not '{}'"),
        ({"name": "x", "rows": [{"size": 1}, {"size": "1"}]}, "x.json: rows[1].size: must be an integer, not '1'"),
        ({"name": "x", "counts": []}, "x.json: counts: must be an object, not '[]'"),
        ({"name": "x", "counts": {"a": 1, "b": "2"}}, "x.json: counts.b: must be an integer, not '2'"),
        ({"name": "x", "anything": 3}, "x.json: anything: must be an object, not '3'"),
    ],
)
def test_the_first_wrong_value_is_told_with_its_path(document: object, fault: str) -> None:
    with pytest.raises(ManifestError) as caught:
        decode(Outer, document, "x.json")
    assert str(caught.value) == fault
