from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.toml_lines import Key, line_of, toml_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[1]
TEXT = '''\
# [tool.mlbundle.budget] is not here
title = "[tool.mlbundle.budget]"
long = """
[tool.mlbundle.budget]
installed = 1 \\""" ""\\
"""""
raw = \'\'\'
[x]
a = 1\'\'\'

[tool.mlbundle.budget]   # here
  installed = "600 MB"   # a comment = with "signs
"compressed" = 1
'files'=2
"a\\u0062c" = 3
preset = [  # several
  "pypi",

  # a comment, with ] and "
  "lambda", ]
empty = []
none = {}

[[tool.mlbundle.budget.rules]]
owner = "torch"
installed = 1979-05-27 07:32:00

[[ tool . mlbundle . "budget" . rules ]]
limits.deep = { installed = 1, growth = { percent = 2.0 } }
nested = [[1, 2], [{ a = 1 },
  { b = [true] }]]
[tool.mlbundle.budget.rules.extra]
x = 1
[tool.mlbundle]
overrides = [
  { limit = "a" },
  { limit = "b", reason = "x # y" },
]
'''


def leaves(value: Any, key: Key = ()) -> Iterator[Key]:
    """Yield the key of every value that tomllib finds, tables and arrays included."""
    if key:
        yield key
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in parts:
        yield from leaves(each, (*key, name))


def prefixes(keys: set[Key]) -> set[Key]:
    return {key[:end] for key in keys for end in range(1, len(key) + 1)}


BUDGET = ("tool", "mlbundle", "budget")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (BUDGET, 11),
        ((*BUDGET, "installed"), 12),
        ((*BUDGET, "compressed"), 13),
        ((*BUDGET, "files"), 14),
        ((*BUDGET, "abc"), 15),
        ((*BUDGET, "preset"), 16),
        ((*BUDGET, "preset", 0), 17),
        ((*BUDGET, "preset", 1), 20),
        ((*BUDGET, "preset", 2), 16),
        ((*BUDGET, "no", "such"), 11),
        ((*BUDGET, "rules", 0), 24),
        ((*BUDGET, "rules", 0, "installed"), 26),
        ((*BUDGET, "rules", 1, "limits", "deep", "growth", "percent"), 29),
        ((*BUDGET, "rules", 1, "nested", 1, 1, "b", 0), 31),
        ((*BUDGET, "rules", 1, "extra", "x"), 33),
        (("tool", "mlbundle", "overrides", 1, "reason"), 37),
        (("project", "name"), 1),
        ((), 1),
    ],
)
def test_the_line_of_a_key_or_of_the_table_around_it(key: Key, line: int) -> None:
    assert line_of(toml_lines(TEXT), key) == line


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), *(path.read_text() for path in REPOSITORY.glob("**/pyproject.toml"))])
def test_every_value_that_tomllib_finds_has_a_line(text: str) -> None:
    found = toml_lines(text)
    assert prefixes(set(found)) == set(leaves(tomllib.loads(text)))


def test_all_keys_of_a_line_are_on_it() -> None:
    lines = TEXT.splitlines()
    for key, line in toml_lines(TEXT).items():
        name = next(part for part in reversed(key) if isinstance(part, str))
        assert name in lines[line - 1] or isinstance(key[-1], int) or name == "abc"


SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(["true", "1.5", "07:32:00", "'a ] # , b'", '"a \\" ] } = # b"', "'''\n[x]\ny = 1'''", '"""\n# "" \\"""" """']),
)
NAMES = st.sampled_from(["a", "b-c", '"d.e"', "'f g'", "1", "a.b", ' a . "c]" '])


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda each: "[ # c ]\n" + " , # [\n".join(each) + "]")


def tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.dictionaries(st.sampled_from(["x", '"y z"', "w.v"]), values.filter(lambda text: "\n" not in text), max_size=3)
    return pairs.map(lambda each: f"{{ {', '.join(f'{name} = {value}' for name, value in each.items())} }}")


VALUES = st.recursive(SCALARS, lambda values: lists(values) | tables(values), max_leaves=8)
STATEMENTS = st.one_of(
    st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]} # ["),
    NAMES.map(lambda name: f"[{name}]"),
    NAMES.map(lambda name: f"  [[{name}]] # x"),
    st.just("# [a] = 1"),
)


@given(st.lists(STATEMENTS, max_size=8).map("\n".join))
def test_whatever_is_toml_is_read_as_tomllib_reads_it(text: str) -> None:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        toml_lines(text)
        return
    assert prefixes(set(toml_lines(text))) == set(leaves(value))


@pytest.mark.parametrize(
    "text", ["", "\n", "=", "[", "[a", "a", "a =", 'a = "', "a = [1", "a = {b", "]", "a.b. = 1", "\x00", "[" * 5000, "a=" + "[" * 5000]
)
def test_what_is_no_toml_has_the_lines_before_it(text: str) -> None:
    assert toml_lines(f"first = 1\n{text}")["first",] == 1


def test_a_large_file_takes_no_while() -> None:
    text = "\n".join(f"[[a]]\nb{number} = {{ c = [1, 2, 3] }}" for number in range(10_000))
    assert line_of(toml_lines(text), ("a", 9_999, "b9999")) == 20_000
