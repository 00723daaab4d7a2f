from __future__ import annotations

import marshal
import types
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.marshalled_code import Code, read_code
from tests.pythons import RELEASES, compile_with, find_python

SOURCE = '''
"""A module with every kind of constant."""
import os.path
NUMBERS = (1, -1, 2**70, -(2**70), 1.5, 2j, True, None, ..., b"bytes", "text", "t\\u00e4xt", frozenset)
CHOICE = NUMBERS in {3}
def f(a, *b, c=1, **d):
    return [lambda x: x + a for a in b][1:2]
class C:
    def method(self):
        return self.method
'''


def compiled(source: str) -> bytes:
    return marshal.dumps(compile(source, "module.py", "exec"))


def same(ours: Code, theirs: types.CodeType) -> None:
    assert (ours.name, ours.flags, ours.names) == (theirs.co_name, theirs.co_flags, theirs.co_names)
    for mine, their in zip(ours.constants, theirs.co_consts, strict=True):
        if isinstance(their, types.CodeType):
            same(mine, their)
        elif not isinstance(their, frozenset):
            assert mine == reduced(their)


def reduced(value: object) -> object:
    """Return a constant as far as it is read: nothing of what no import is made of."""
    if isinstance(value, tuple):
        return tuple(map(reduced, value))
    if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
        return value
    return value if isinstance(value, str | bytes) else None


def test_it_reads_what_unmarshalling_gives() -> None:
    same(read_code(compiled(SOURCE)), compile(SOURCE, "module.py", "exec"))


def test_it_reads_the_standard_library() -> None:
    for name in (
        "ast.py",
        "asyncio/base_events.py",
        "inspect.py",
        "re/_parser.py" if Path(ast_folder() / "re").is_dir() else "sre_parse.py",
    ):
        source = (ast_folder() / name).read_text(encoding="utf-8")
        same(read_code(compiled(source)), compile(source, "module.py", "exec"))


def ast_folder() -> Path:
    import ast

    return Path(ast.__file__).parent


def all_names(code: Code) -> Iterator[str]:
    yield code.name
    for nested in code.nested():
        yield from all_names(nested)


@pytest.mark.parametrize("release", RELEASES)
def test_it_reads_the_code_of_other_releases(release: str) -> None:
    python = find_python(release)
    if python is None:
        pytest.skip(f"no Python {release} here")
    code = read_code(compile_with(python, SOURCE))
    assert {"<module>", "f", "C", "method", "<lambda>"} <= set(all_names(code))
    assert "os.path" in code.names
    assert (code.exceptions is None) == (release == "3.10")


@pytest.mark.parametrize("data", [b"", b"c", b"i\1\0\0\0", b"\xfbc", b"[" + b"\xff" * 4, b"(" * 4000, b"r\0\0\0\0"])
def test_what_is_no_code_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="code"):
        read_code(data)


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_damage_is_a_value_error_or_goes_unnoticed(at: int, noise: bytes) -> None:
    data = compiled(SOURCE)
    at %= len(data)
    with suppress(ValueError):
        read_code(data[:at] + noise + data[at + len(noise) :])


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="code"):
        read_code(b"c" + data)
