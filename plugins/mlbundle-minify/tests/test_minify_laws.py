"""The optimizers of text keep the laws of every optimizer."""

from __future__ import annotations

from functools import cache

import pytest
from mlbundle_minify.minify_json import MinifyJson
from mlbundle_minify.minify_python import MinifyPython
from mlbundle_minify.minify_web import MinifyWeb

from hatch_mlbundle.testing import LAWS
from hatch_mlbundle.testing.law import Case, case_of
from hatch_mlbundle.testing.laws import check_here

FILES = {
    MinifyJson: {
        "a/x.json": b'{"a": [1, 2.50, NaN],\n "b": "\\u00e9 \\" , "}\n',
        "a/l.jsonl": b'{"a": 1}\n\n{"b":  2}\n',
        "a/bad.json": b"{ 'a' }",
    },
    MinifyPython: {
        "a/__init__.py": b'"""Doc."""\n# c\ndef f():\n    """D."""\n',
        "a/b.py": b'# Copyright\n\nimport click\n# x\ndef f():\n    """D."""\n',
        "a/c.py": b'def g():\n    """G."""\n',
        "a/d.py": b"from .c import g\ndef read(x):\n    return x.__doc__\nread(g)\n",
    },
    MinifyWeb: {
        "a/x.js": b"// Copyright me\n// more\nfunction f(a) {\n  // c\n  return `x ${ a } ${`y  ${a}`}`;\n}\n",
        "a/y.css": b"/* Copyright x */\na  >  b { color : red; }\n@media (min-width: 1px) { b :hover { x: calc(1px + 2px) } }",
    },
}


QUICK = [name for name in LAWS if name not in ("deterministic", "safe")]


@cache
def case(optimizer: type) -> Case:
    return case_of(optimizer, FILES[optimizer])


@pytest.mark.parametrize("law", [*QUICK, pytest.param("safe", marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", FILES, ids=lambda each: each.name)
def test_the_laws(optimizer: type, law: str) -> None:
    assert case(optimizer).plain.changed
    LAWS[law].check(case(optimizer))


@pytest.mark.parametrize("optimizer", FILES, ids=lambda each: each.name)
def test_the_same_comes_of_it_each_time(optimizer: type) -> None:
    check_here(case(optimizer))
