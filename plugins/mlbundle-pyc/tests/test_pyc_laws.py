"""The optimizers of bytecode keep the laws of every optimizer."""

from __future__ import annotations

import py_compile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mlbundle_pyc.sourceless import Sourceless
from mlbundle_pyc.strip_docstrings import StripDocstrings
from pycsmith import RELEASE

from hatch_mlbundle.testing import LAWS
from hatch_mlbundle.testing.law import Case, case_of
from hatch_mlbundle.testing.laws import check_here

SOURCES = {
    "app/__init__.py": '"""Doc."""\n',
    "app/a.py": 'class A:\n    """A."""\n    def f(self):\n        """F."""\n        return {1, 2}\n',
    "app/b.py": 'import click\n\ndef f():\n    """D."""\n',
    "app/c.py": 'from .a import A\n\ndef show(x):\n    """S."""\n    return x.__doc__\n\nprint(show(A))\n',
    "app/many.py": "".join(f'def some_function{number}():\n    """D."""\n' for number in range(99)),
    "app/names.py": f"print([each.__doc__ for each in {[f'some_function{number}' for number in range(98)]}])",
    "app/bad.py": "def f(:\n",
}
QUICK = [name for name in LAWS if name not in ("deterministic", "safe")]


def bytecode(source: str) -> bytes:
    with TemporaryDirectory() as folder:
        place = Path(folder, "x.py")
        place.write_text(source)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        return Path(py_compile.compile(str(place), str(place) + "c", dfile="x.py", doraise=True, invalidation_mode=mode)).read_bytes()


@cache
def case(optimizer: type) -> Case:
    if optimizer is Sourceless:
        options = {"python": RELEASE, "may-grow": True, "docstrings": False}
        return case_of(Sourceless, {path: text.encode() for path, text in SOURCES.items()}, options)
    return case_of(StripDocstrings, {f"{path}c": bytecode(text) for path, text in SOURCES.items() if "bad" not in path})


@pytest.mark.parametrize("law", [*QUICK, pytest.param("safe", marks=pytest.mark.slow)])
@pytest.mark.parametrize("optimizer", [Sourceless, StripDocstrings], ids=lambda each: each.name)
def test_the_laws(optimizer: type, law: str) -> None:
    assert len(case(optimizer).plain.plan) >= 4
    LAWS[law].check(case(optimizer))


@pytest.mark.parametrize("optimizer", [Sourceless, StripDocstrings], ids=lambda each: each.name)
def test_the_same_comes_of_it_each_time(optimizer: type) -> None:
    check_here(case(optimizer))
