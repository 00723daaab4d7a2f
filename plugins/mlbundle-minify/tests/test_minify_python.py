"""Comments and docstrings go, code stays where it is, and what something may read stays."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlbundle_minify.minify_python import MinifyPython
from mlbundle_minify.python_text import docstrings, encoding_of, without_texts

from hatch_mlbundle.errors import UnsoundResultError
from hatch_mlbundle.pysource import parse
from hatch_mlbundle.testing import run


def stripped(source: str) -> str:
    data = source.encode()
    return without_texts(data, [each.line for each in docstrings(parse(data), data)]).decode()


def minified(files: dict[str, str], **options: Any) -> dict[str, str]:
    made = run(MinifyPython, {path: text.encode() for path, text in files.items()}, options)
    assert not made.findings
    assert not made.misdeeds
    return {path: data.decode() for path, data in made.files.items()}


def test_lines_and_columns_stay() -> None:
    source = 'x = 1  # one\n\n\ndef f():\n    """Doc.\n\n    More."""  # two\n    return 1 / 0\n'
    made = stripped(source)
    assert made == "x = 1\n\n\ndef f():\n\n\n\n    return 1 / 0\n"
    before, after = (ast.parse(each).body[1].body[-1] for each in (source, made))  # type: ignore[attr-defined]
    assert (before.lineno, before.col_offset) == (after.lineno, after.col_offset)


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ('def f(): "doc"\n', "def f(): pass\n"),
        ('class A:\n    """a\n    b"""\n\nx = A\n', "class A:\n    pass\n\n\nx = A\n"),
        ('def f():\n    ("two "\n     "parts")\n    return 1\n', "def f():\n\n\n    return 1\n"),
        ("x = '# no'  # yes\n", "x = '# no'\n"),
        ("x = '''\n# no  \n'''  \n", "x = '''\n# no  \n'''\n"),
        ("x = f'{1}#'  # yes\n", "x = f'{1}#'\n"),
        ("x = (1,  # one\n     2)\n", "x = (1,\n     2)\n"),
        ("x = 'a\\\n# no'\n", "x = 'a\\\n# no'\n"),
        ("x = 1\r\n# c\r\ny = 2\r\n", "x = 1\r\n\r\ny = 2\n"),
        ("\ufeff# c\nx = 1\n", "\ufeff\nx = 1\n"),
        ("# only a comment\n", ""),
        ("é = 'ü'  # ö\n", "é = 'ü'\n"),
    ],
)
def test_what_goes(source: str, made: str) -> None:
    assert stripped(source) == made


@pytest.mark.parametrize(
    "source",
    [
        "#!/usr/bin/env python\nx = 1\n",
        "# -*- coding: utf-8 -*-\nx = 1\n",
        "# Copyright 2020 A\n# See the file LICENSE\n\nx = 1\n",
        "# SPDX-License-Identifier: MIT\nx = 1\n",
        "def f(a):\n    # type: (int) -> int\n    return a\n",
        'def f():\n    "doc"; return 1\n',
        'def f():\n    "doc"\n    "would be the docstring"\n',
        'x = 1\n"no docstring"\n',
    ],
)
def test_what_stays(source: str) -> None:
    assert stripped(source) == source


@pytest.mark.parametrize(
    ("source", "name"),
    [(b"x = 1\n", "utf-8"), (b"#!x\n# coding: latin-1\n", "latin-1"), (b"x = 1\n# coding: latin-1\n", "utf-8"), (b"", "utf-8")],
)
def test_encoding(source: bytes, name: str) -> None:
    assert encoding_of(source) == name


def test_a_wrong_edit_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tokens are misread, as nested quotes in f-strings are, the code differs, and the result is refused."""
    monkeypatch.setattr("mlbundle_minify.python_text._removable", lambda _: [(0, 4, b"")[:2]])
    with pytest.raises(UnsoundResultError):
        without_texts(b"x = 1; y = 2\n", [])


PIECES = st.sampled_from(
    [
        '"""d"""\n',
        "# c\n",
        "x = 1\n",
        "x = '#'\n",
        "def f(a):\n    '''d'''\n",
        "    # c\n",
        "    return a\n",
        "class A:\n    'd'\n",
        "\n",
        "    'e'\n",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, max_size=12))
def test_any_source_compiles_to_the_same(pieces: list[str]) -> None:
    source = "".join(pieces).encode()
    try:
        compile(tree := parse(source), "s", "exec")
    except SyntaxError:
        return
    none = without_texts(source, [])
    codes = [marshal.dumps(compile(each, "s", "exec"), 2) for each in (source, none)]
    assert codes[0] == codes[1]
    lines = [each.line for each in docstrings(tree, source)]
    once = without_texts(source, lines)
    assert without_texts(once, [each.line for each in docstrings(parse(once), once)]) == once


COMMAND = 'import click\n\n\n@click.command()\ndef main():\n    """Say hello."""\n'
READER = (
    'def describe(thing):\n    return thing.__doc__.split()\n\n\nclass Plugin:\n    def help(self):\n        return self.__doc__ + "."\n'
)


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({"app/cli.py": COMMAND}, ["Say hello."]),
        ({"app/cli.py": '"""Usage: x"""\nprint(__doc__)\n'}, ["Usage: x"]),
        ({"app/a.py": READER, "app/b.py": 'from .a import describe\ndef f():\n    """F."""\ndescribe(f)\n'}, ["F."]),
        ({"app/a.py": READER, "app/b.py": 'def g():\n    """G."""\n', "app/c.py": "from . import a, b\na.describe(b.g)\n"}, ["G."]),
        ({"app/a.py": READER, "app/b.py": 'from .a import Plugin\nclass P(Plugin):\n    """P."""\n'}, ["P."]),
        (
            {
                "app/a.py": READER,
                "app/b.py": "from .a import Plugin\nclass M(Plugin):\n    x = 1\n",
                "app/c.py": 'class N(M):\n    """N."""\n',
            },
            ["N."],
        ),
        ({"app/a.py": 'READ = getattr(m, "late").__doc__\n', "app/b.py": 'def late():\n    """L."""\n'}, ["L."]),
        ({"app/a.py": 'import pydoc\ndef f():\n    """H."""\n'}, ["H."]),
        ({"app/a.py": 'import sys, pydoc\ndef f():\n    """H."""\n'}, ["H."]),
        ({"app/a.py": 'def f():\n    """F."""\nprint("{0.__doc__}".format(f))\n'}, ["F."]),
        (
            {
                "app/a.py": "from inspect import getdoc as told\ndef show(x):\n    return told(x)\n",
                "app/b.py": 'from .a import show\ndef f():\n    """F."""\nshow(f)\n',
            },
            ["F."],
        ),
        ({"click/a.py": 'from .core import command\ndef f():\n    """C."""\n'}, ["C."]),
        ({"app/a.py": 'def p_expression(p):\n    """expression : NUMBER"""\n'}, ["expression : NUMBER"]),
        ({"app/a.py": 'from x import tool\n@tool\ndef f():\n    """T."""\n'}, ["T."]),
        ({"app/a.py": 'class A(metaclass=Meta):\n    """M."""\n'}, ["M."]),
        ({"app/a.py": 'def f():\n    """S."""\nf.__doc__ += "more"\n'}, ["S."]),
    ],
)
def test_docstrings_that_may_be_read_stay(files: dict[str, str], kept: list[str]) -> None:
    text = "".join(minified(files).values())
    assert all(f'"""{each}"""' in text for each in kept), text


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """G."""\n    return 1\n',
        'import functools\n@functools.lru_cache(maxsize=None)\ndef f():\n    """G."""\n',
        'class A:\n    @property\n    def x(self):\n        """G."""\n',
        'def f():\n    """G."""\ndef g(): ...\ng.__doc__ = f.__doc__\n',
        'class A:\n    """G."""\n    def copy(self): ...\n',
        'def f():\n    """G. Its `{x.__doc__}` is for people."""\n',
    ],
)
def test_docstrings_that_nothing_reads_go(source: str) -> None:
    files = {"app/a.py": source, "other/reader.py": READER}
    assert "G." not in minified(files)["app/a.py"]


def test_many_docstrings_go() -> None:
    assert "G." not in minified({"app/a.py": "".join(f'def f{number}():\n    """G."""\n' for number in range(500))})["app/a.py"]


def test_keep_and_options() -> None:
    files = {"app/a.py": '"""D."""\nx = 1  # c\n', "app/sub/b.py": '"""E."""\nx = 1  # c\n'}
    assert minified(files, keep=["app.sub"]) == {"app/a.py": "\nx = 1\n", "app/sub/b.py": '"""E."""\nx = 1\n'}
    assert minified(files, docstrings=False)["app/a.py"] == '"""D."""\nx = 1\n'
    made = run(MinifyPython, {"app/a.py": b"x = 1  # c\n"}, {"keep": ["nowhere"]})
    assert made.codes == ["MB921"]
    assert "names 'nowhere'" in made.findings[0].message


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("app/a.py", b"print 'old'  # c\n", "cannot parse it (line 1)"),
        ("app/a.py", b"# coding: latin-1\nx = '\xe9'  # c\n", "its encoding is latin-1"),
        ("app/my-template.py", b"x = 1  # c\n", "it may be data"),
        ("app/a.py", b"x = 1\n", "nothing in it can go"),
        ("app/a.py", b"return 1  # c\n", "cannot compile it"),
        ("app/a.py", b"\x00\x01", "pars"),
        ("app/a.py", b"x = " + b"(" * 5000 + b")" * 5000, "pars"),
    ],
)
def test_sources_that_stay(path: str, source: bytes, reason: str) -> None:
    made = run(MinifyPython, {path: source})
    assert made.files[path] == source
    assert reason in made.kept[path]


@pytest.mark.parametrize(("flags", "is_kept"), [(0, True), (3, True), (1, False)])
def test_bytecode_beside_that_goes_by_the_source(flags: int, is_kept: bool) -> None:
    header = importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little") + bytes(8)
    made = run(
        MinifyPython, {"app/a.py": b"x = 1  # c\n", "app/__pycache__/a.cpython-311.pyc": header + marshal.dumps(compile("", "", "exec"))}
    )
    assert ("app/a.py" in made.kept) is is_kept


def test_a_source_whose_checksum_is_named_stays() -> None:
    import hashlib

    source = b"x = 1  # c\n"
    made = run(MinifyPython, {"app/a.py": source, "app/sums.txt": hashlib.sha1(source).hexdigest().encode()})
    assert made.kept == {"app/a.py": "another file names its checksum"}


PACKABLE = """\
# Copyright me
"Doc."
import os


def f(a):
    # c
    if a:
        return os.sep + "x"
    return [each for each in a]
"""


def test_packed() -> None:
    made = minified({"app/a.py": PACKABLE}, lines="pack")["app/a.py"]
    assert made.startswith("# Copyright me\n")
    assert len(made) < len(minified({"app/a.py": PACKABLE})["app/a.py"])
    assert ast.dump(ast.parse(made)) == ast.dump(ast.parse(PACKABLE.replace('"Doc."', "")))
    inner = "def f(a):\n    # type: (int) -> int\n\n    return a\n"
    assert minified({"app/a.py": inner}, lines="pack")["app/a.py"] == inner


SAY = """\
"Usage: say."
import argparse

parser = argparse.ArgumentParser(description=__doc__)


def fail():
    # Fail.
    return 1 / 0  # here


parser.print_help()
fail()
"""


def test_a_program_says_the_same(tmp_path: Path) -> None:
    told = []
    for text in (SAY, minified({"app/say.py": SAY})["app/say.py"]):
        (tmp_path / "say.py").write_text(text)
        made = subprocess.run([sys.executable, "say.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
        told.append(made.stdout + made.stderr)
    assert "Usage: say." in told[0]
    assert "line 9, in fail" in told[0]
    assert told[1] == told[0].replace("  # here", "")
