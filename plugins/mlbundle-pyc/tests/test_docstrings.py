from __future__ import annotations

import ast
import json
import marshal
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from mlbundle_pyc.docstrings import all_code, docstring_place, imports_of, reads_docstrings, without_docstrings
from mlbundle_pyc.marshal_tree import CodeNode, read_tree, write_tree
from mlbundle_pyc.proof import prove

LIBRARY = Path(json.__file__).parent.parent
OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def tree_of(source: str | bytes) -> CodeNode:
    return read_tree(marshal.dumps(compile(source, "x.py", "exec", dont_inherit=True)))


def stripped(source: str, kept: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return what a module holds once it ran without docstrings."""
    before = tree_of(source)
    after = write_tree(without_docstrings(before, kept))
    assert prove(write_tree(before), after, kept) is None
    scope: dict[str, Any] = {"__name__": "x"}
    exec(marshal.loads(after), scope)
    return scope


@pytest.mark.parametrize("name", ["ast.py", "dataclasses.py", "decimal.py", "enum.py", "json/decoder.py", "statistics.py", "typing.py"])
def test_every_docstring_is_found_and_nothing_else_changes(name: str) -> None:
    source = (LIBRARY / name).read_bytes()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, OWNERS)]
    before = tree_of(source)
    assert sum(docstring_place(each) is not None for each in all_code(before)) == sum(ast.get_docstring(node) is not None for node in nodes)
    after = without_docstrings(before, ())
    assert not any(docstring_place(each) is not None for each in all_code(after))
    assert prove(write_tree(before), write_tree(after), ()) is None


def test_docstrings_are_none_and_other_strings_stay() -> None:
    scope = stripped(
        '"module"\n'
        'def f():\n    "function"\n    return "value"\n'
        'def same():\n    "same"\n    return "same"\n'
        'def none(): return "first"\n'
        'class C:\n    "class"\n    x = "x"\n    def m(self):\n        "method"\n'
        'class Same:\n    "twice"\n    x = "twice"\n'
        'l = lambda: "lambda"\n'
        'g = ["element" for _ in (1,)]\n'
        'async def a():\n    "async"\n'
    )
    assert [scope[name].__doc__ for name in ("f", "C", "a")] == [None] * 3
    assert scope["__doc__"] is None
    assert scope["C"]().m.__doc__ is None
    assert (scope["f"](), scope["none"](), scope["l"](), scope["g"], scope["C"].x, scope["Same"].x) == (
        *("value", "first", "lambda", ["element"], "x", "twice"),
    )
    assert scope["same"]() == "same"
    assert scope["same"].__doc__ == "same"  # the string is a value, too


def test_those_of_named_definitions_stay() -> None:
    scope = stripped('def f():\n    "f"\ndef g():\n    "g"\nclass C:\n    "C"\n', frozenset({"f", "C"}))
    assert [scope[name].__doc__ for name in ("f", "g", "C")] == ["f", None, "C"]


def test_a_doc_that_a_module_sets_later_stays() -> None:
    assert stripped('x = 1\n__doc__ = "made"\n')["__doc__"] == "made"


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("def f(x): return x.__doc__", True),
        ("print(__doc__)", True),
        ("def f(x): return getattr(x, '__doc__')", True),
        ("import inspect\ninspect.getdoc(f)", True),
        ("from docopt import docopt", True),
        ("import doctest", True),
        ("print('{0.__doc__}'.format(f))", True),
        ("print('usage: %(__doc__)s' % globals())", True),
        ("def f():\n    'its {x.__doc__} is for people'", False),
        ("def f(a, b): a.__doc__ = b.__doc__", False),
        ("def f(a): a.__doc__ = 'x'", False),
        ("'doc'\nclass C:\n    'doc'", False),
        ("x = 1", False),
    ],
)
def test_what_reads_docstrings_is_seen(source: str, reads: bool) -> None:
    assert any(map(reads_docstrings, all_code(tree_of(source)))) is reads


def test_imports_are_seen_at_any_depth() -> None:
    assert imports_of(tree_of("import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h\n")) == {"a", "c", "h"}


@pytest.mark.parametrize("change", ["x = 2", "x = 1\ny = 1", "def f():\n    'other'\n", "def f():\n    return None\n"])
def test_the_proof_finds_any_other_change(change: str) -> None:
    def data(source: str) -> bytes:
        return write_tree(tree_of(source))

    assert prove(data("def f():\n    'text'\nx = 1"), data(change), ()) is not None
    assert prove(data("x = 'text'"), data("x = None"), ()) is not None
    assert prove(b"N", data(change), ()) is not None
    assert prove(data(change)[:-3], data(change), ()) is not None


def test_kept_docstrings_are_part_of_the_proof() -> None:
    before = tree_of("def f():\n    'text'\n")
    after = write_tree(without_docstrings(before, ()))
    assert prove(write_tree(before), after, ()) is None
    assert prove(write_tree(before), after, {"f"}) is not None
    assert isinstance(marshal.loads(after), CodeType)
