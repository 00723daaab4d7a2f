from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal, Optional

import pytest

from hatch_mlbundle.schema import Glob, Size, check_table, describe_type, read_table, suggestion, to_toml, toml_names


@dataclass(frozen=True, kw_only=True)
class Inner:
    deep: int = 1


@dataclass(frozen=True, kw_only=True)
class Outer:
    flag: bool = False
    number: int = 3
    ratio: float = 0.5
    name: str = "x"
    size_limit: Size = Size(7)
    mode: Literal["fast", "slow"] = "fast"
    words: tuple[str, ...] = ()
    globs: tuple[Glob, ...] = ()
    modes: tuple[Literal["fast", "slow"], ...] = ()
    maybe: str | None = None
    inner: Inner = Inner()


def read(table: object) -> tuple[Outer, list[str]]:
    faults: list[str] = []
    return read_table(Outer, table, "tool.x", faults), faults


def test_every_type_is_read() -> None:
    table = {
        "flag": True,
        "number": 4,
        "ratio": 2,
        "name": "y",
        "size-limit": "1.5 kB",
        "mode": "slow",
        "words": ["", "!"],
        "globs": ["a", "!b"],
        "modes": ["slow", "fast"],
        "maybe": "z",
        "inner": {"deep": 5},
    }
    assert read(table) == (
        Outer(
            flag=True,
            number=4,
            ratio=2,
            name="y",
            size_limit=Size(1500),
            mode="slow",
            words=("", "!"),
            globs=(Glob("a"), Glob("!b")),
            modes=("slow", "fast"),
            maybe="z",
            inner=Inner(deep=5),
        ),
        [],
    )


def test_an_empty_table_is_the_defaults() -> None:
    assert read({}) == (Outer(), [])


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("flag", 1, "tool.x.flag: must be true or false, not 1"),
        ("flag", "yes", "tool.x.flag: must be true or false, not 'yes'"),
        ("number", True, "tool.x.number: must be an integer, not True"),
        ("number", 1.0, "tool.x.number: must be an integer, not 1.0"),
        ("ratio", "1", "tool.x.ratio: must be a number, not '1'"),
        ("name", ["x"], "tool.x.name: must be a string, not ['x']"),
        ("size-limit", "5 potatoes", "tool.x.size-limit: '5 potatoes' is not a size; write it like '250 MB' or '2 GiB'"),
        ("size-limit", -1, "tool.x.size-limit: must be a size like '250 MB', not -1"),
        ("size-limit", True, "tool.x.size-limit: must be a size like '250 MB', not True"),
        ("mode", "fas", "tool.x.mode: must be one of 'fast', 'slow', not 'fas'; did you mean 'fast'?"),
        ("mode", 3, "tool.x.mode: must be one of 'fast', 'slow', not 3"),
        ("globs", "*.py", "tool.x.globs: must be a list, not '*.py'"),
        ("words", ["a", 3], "tool.x.words[1]: must be a string, not 3"),
        ("globs", ["a", 3], "tool.x.globs[1]: must be a glob, not 3"),
        ("globs", ["a", "[z-a]"], "tool.x.globs[1]: '[z-a]' is no glob"),
        ("modes", ["slow", "fsat"], "tool.x.modes[1]: must be one of 'fast', 'slow', not 'fsat'; did you mean 'fast'?"),
        ("maybe", 3, "tool.x.maybe: must be a string, not 3"),
        ("inner", 3, "tool.x.inner: must be a table, not 3"),
        ("inner", {"deep": "x"}, "tool.x.inner.deep: must be an integer, not 'x'"),
        ("inner", {"depe": 1}, "tool.x.inner.depe: unknown key; did you mean 'deep'?"),
        ("size_limit", 1, "tool.x.size_limit: unknown key; did you mean 'size-limit'?"),
        ("zzzzzz", 1, "tool.x.zzzzzz: unknown key"),
        ("name", list(range(100)), f"tool.x.name: must be a string, not {str(list(range(100)))[:57]}..."),
    ],
)
def test_a_fault_has_its_path_and_the_field_its_default(key: str, value: Any, fault: str) -> None:
    outer, faults = read({key: value})
    assert faults == [fault]
    assert [field.name for field in fields(outer) if getattr(outer, field.name) != field.default] in ([], ["words"], ["globs"], ["modes"])


def test_all_faults_are_told_at_once() -> None:
    _, faults = read({"flag": 1, "nmae": 2, "inner": {"deep": "x", "other": 1}, "globs": [1, "a", 2]})
    assert sorted(fault.partition(":")[0] for fault in faults) == [
        "tool.x.flag",
        "tool.x.globs[0]",
        "tool.x.globs[2]",
        "tool.x.inner.deep",
        "tool.x.inner.other",
        "tool.x.nmae",
    ]


@pytest.mark.parametrize("table", [None, 3, "text", []])
def test_what_is_no_table(table: object) -> None:
    outer, faults = read(table)
    assert (outer, faults) == (Outer(), [f"tool.x: must be a table, not {table!r}"])


def test_names_have_hyphens_in_toml() -> None:
    assert toml_names(Outer)["size-limit"] == "size_limit"


@pytest.mark.parametrize(
    ("name", "near"),
    [("stirp", "; did you mean 'strip'?"), ("test-data", "; did you mean 'test_data'?"), ("STRIP", "; did you mean 'strip'?"), ("qqq", "")],
)
def test_the_nearest_name(name: str, near: str) -> None:
    assert suggestion(name, ["strip", "test_data", "exclude"]) == near


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "true or false"),
        (int, "an integer"),
        (float, "a number"),
        (Size, "a size"),
        (Glob, "a glob"),
        (Literal["a", "b"], 'one of "a", "b"'),
        (str | None, "a string"),
        (Optional[Size], "a size"),  # noqa: UP045
        (Inner, "a table"),
        (tuple[str, ...], "list of strings"),
        (tuple[int, ...], "list of integers"),
        (tuple[float, ...], "list of numbers"),
        (tuple[Size, ...], "list of sizes"),
        (tuple[Glob, ...] | None, "list of globs"),
        (tuple[Literal["a", "b"], ...], 'list of "a", "b"'),
        (tuple[Inner, ...], "list of tables"),
    ],
)
def test_every_type_has_words(hint: Any, words: str) -> None:
    assert describe_type(hint) == words


UNREADABLE = [dict[str, str], list[str], bytes, object, int | str, tuple[int, str], tuple[()], Literal["a", 1], tuple[tuple[int, ...], ...]]


@pytest.mark.parametrize("hint", UNREADABLE, ids=str)
def test_a_type_that_toml_does_not_give(hint: Any) -> None:
    with pytest.raises(TypeError, match="cannot be read from TOML"):
        describe_type(hint)
    for nested in (hint, make_dataclass("Inside", [("a", hint, None)])):
        with pytest.raises(TypeError, match=r"^Odd\.far: .*cannot be read from TOML$"):
            check_table(make_dataclass("Odd", [("far", nested, None)]))


def test_every_field_has_a_default() -> None:
    check_table(Outer)
    check_table(make_dataclass("Made", [("a", str, field(default_factory=str))]))
    with pytest.raises(TypeError, match=r"^Odd\.a has no default$"):
        check_table(make_dataclass("Odd", [("a", str)]))


@pytest.mark.parametrize(
    ("hint", "value", "written"),
    [
        (Size, 10**11, "100 GB"),
        (Size | None, 4096, "4 KiB"),
        (Size | None, None, None),
        (tuple[Size, ...], (0, 1001), ["0 B", "1001 B"]),
        (tuple[str, ...], ("a",), ["a"]),
        (int, 1000, 1000),
        (bool, True, True),
    ],
)
def test_a_value_as_a_person_would_write_it(hint: Any, value: Any, written: Any) -> None:
    assert to_toml(hint, value) == written
