from __future__ import annotations

import json
import marshal
import random
from pathlib import Path

import pytest
from mlbundle_pyc.marshal_tree import NONE, read_tree, text, write_tree
from pycsmith import run

LIBRARY = Path(json.__file__).parent.parent
MODULES = ("ast.py", "dataclasses.py", "enum.py", "decimal.py", "inspect.py", "json/decoder.py", "statistics.py", "tarfile.py", "typing.py")
SOURCE = """
import re
NAMES = frozenset({"b", "a", "c"})
def f(x: int = 1, *, y=(1, 2.5, -0.0, 0.0, 1j, 10**30, b"by", "\\u00e9", "\\ud800", ..., None, True)):
    return x in {"b", "a", "c", 1} and (lambda z="long " * 9: [z for _ in y])
class C:
    def m(self): return self.x, 1, 1.0, True
"""


def dumped(source: str | bytes, version: int = marshal.version) -> bytes:
    return marshal.dumps(compile(source, "x.py", "exec", dont_inherit=True), version)


@pytest.mark.parametrize("name", MODULES)
def test_code_is_the_same_in_its_one_text(name: str) -> None:
    source = (LIBRARY / name).read_bytes()
    data = dumped(source)
    made = write_tree(read_tree(data))
    assert marshal.loads(made) == compile(source, "x.py", "exec", dont_inherit=True)
    assert len(made) <= len(data)
    assert write_tree(read_tree(made)) == made


def test_who_made_it_makes_no_difference() -> None:
    """References and interned strings differ between these, and so does the order of a set between processes."""
    assert marshal.version > 2
    texts = {write_tree(read_tree(dumped(SOURCE, version))) for version in (3, 4)}
    code = marshal.loads(dumped(SOURCE))
    texts |= {write_tree(read_tree(marshal.dumps(code)))}
    script = f"import marshal; print(marshal.dumps(compile({SOURCE!r}, 'x.py', 'exec', dont_inherit=True)).hex())"
    others = [bytes.fromhex(run(Path(), script, PYTHONHASHSEED=seed)) for seed in ("1", "2", "3")]
    texts |= {write_tree(read_tree(each)) for each in others}
    assert len(texts) == 1
    assert marshal.loads(texts.pop()) == compile(SOURCE, "x.py", "exec", dont_inherit=True)


def test_constants_that_are_equal_but_not_the_same_stay_apart() -> None:
    scope: dict[str, object] = {}
    exec(marshal.loads(write_tree(read_tree(dumped("X = [(1, 1.0, True, 0.0, -0.0), (1.0, 1, 1)]")))), scope)
    assert repr(scope["X"]) == "[(1, 1.0, True, 0.0, -0.0), (1.0, 1, 1)]"


def test_the_file_name_is_set_everywhere() -> None:
    made = marshal.loads(write_tree(read_tree(dumped("def f():\n    class C:\n        def g(self): return [1 for _ in ()]\n"))))
    waiting, found = [made], set()
    while waiting:
        code = waiting.pop()
        found.add(code.co_filename)
        waiting += [each for each in code.co_consts if hasattr(each, "co_consts")]
    assert found == {"x.py"}


def test_damaged_data_is_refused_and_never_unmarshalled() -> None:
    data = dumped((LIBRARY / "copyreg.py").read_bytes())
    chance = random.Random(0)
    for cut in range(0, len(data) - 1, 199):
        with pytest.raises(ValueError, match=r"code|holds"):
            read_tree(data[:cut])
    for _ in range(300):
        spoilt = bytearray(data)
        spoilt[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            read_tree(bytes(spoilt))
        except ValueError:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i\1\0\0\0",
        b"N",
        b"r\0\0\0\0",
        b"\xa9\1r\0\0\0\0",  # a tuple that holds itself
        b"(\xff\xff\xff\x7f",
        b")\1" * 100_000,
        b"c" + bytes(20),
        b"{N0",
    ],
)
def test_hostile_data_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_tree(data)


def test_what_stands_behind_the_code_is_refused() -> None:
    with pytest.raises(ValueError, match="behind"):
        read_tree(dumped("x = 1") + b"N")


def test_strings_are_marked_by_what_they_look_like() -> None:
    assert text("name").text[:1] == b"Z"
    assert text("no name").text[:1] == b"z"
    assert text("x" * 300).text[:1] == b"A"
    assert text("\u00e9").text[:1] == b"u"
    assert write_tree(NONE) == b"N"
