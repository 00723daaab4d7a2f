"""Scripts and style sheets lose white space and comments where a parser sees the same in them afterwards."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from mlbundle_minify.minify_web import MinifyWeb
from mlbundle_minify.script_text import minified_script
from mlbundle_minify.style_text import minified_style

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.testing import run

PROGRAM = """
// a comment
const name = "a  // b";
const tag = (parts, ...values) => parts.raw.join("|") + values.join(",");
let i = 1
let j = 2
const nested = `x  ${ name }  ${ `inner   ${ i + + j }  /* text */` }  // text`;
const expression = /[/]  "/g.test('  "') ? 1 : 2
const division = i / j / 2;
class A { static #b = 1; get c() { return A.#b ?? 0 } async *d() { yield* [1]; } }
label: for (const each of [1, 2]) { if (each) continue label }
const f = a => ({ a }); /* c */
const g = () => { return
  1 }
console.log(nested, expression, division, new A().c, f(1), g(), i
++j, tag`a   b${ i }c`, 0x1n, 1_000, name?.length, "\\
  continued");
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_a_program_says_the_same(tmp_path: Path) -> None:
    source = PROGRAM.replace("i\n++j,", "i,\n++j,")
    made = minified_script(source.encode())
    assert len(made) < len(source) * 0.95
    told = []
    for name, text in (("a.js", source.encode()), ("b.js", made)):
        (tmp_path / name).write_bytes(text)
        told.append(subprocess.run(["node", name], cwd=tmp_path, capture_output=True, check=True).stdout)
    assert told[0] == told[1] != b""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1; // c\nb = 2;\n", "a=1;b=2;"),
        ("/*! keep */\na = 1 ;", "/*! keep */\na=1;"),
        ("// Copyright me\n// and more\n\n// gone\na = 1 ;", "// Copyright me\n// and more\na=1;"),
        ("'use strict';\n/* @license MIT */ a = 1 ;", "/* @license MIT */\n'use strict';a=1;"),
        ("x = `a  b ${ `c  d` }` ;", "x=`a  b ${ `c  d` }`;"),
        ("f( /* one\n */ a, // c\n b) /*\n*/\n;", "f(a,b);"),
        ("import  a  from 'a' ; export  {  a } ;", "import a from'a';export{a};"),
    ],
)
def test_scripts(before: str, after: str) -> None:
    assert minified_script(before.encode()).decode() == after


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (b"#!/usr/bin/env node\na = 1 ;", "begins with #!"),
        (b"const a = <b>text</b  ", "does not know"),
        (b"{% if x %} a = 1 ; {% endif %}", "does not know"),
        (b"a = '\xff' ;  // c", "UTF-8"),
        (b"f.toString().split(/\\/\\*/) ;  // c", "own comments"),
        (b"a = function(){/*\n a text\n*/} ;", "may be a text"),
        (b"a /*\n*/ ++\n b  ;", "ends a statement"),
        (b"function* g(){ yield /*\n*/ x  }", "ends a statement"),
        (b"a = b < ! --c  ;", "other syntax"),
        (b'a = "@mlbundle: a template literal@" ;', "stands in"),
    ],
)
def test_scripts_that_stay(script: bytes, reason: str) -> None:
    with pytest.raises(KeptError, match=reason):
        minified_script(script)


def test_what_rjsmin_breaks_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser finds a changed string: rjsmin alone changes this template literal, which is why it never sees one."""
    import rjsmin

    nested = b"x = `a ${`  b`}` ;  // c"
    assert b"`  b`" not in rjsmin.jsmin(nested.decode()).encode()
    monkeypatch.setattr("mlbundle_minify.script_text._TEMPLATES", frozenset())
    with pytest.raises(KeptError, match="other syntax"):
        minified_script(nested)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a   b ,  c > d { color : red ; }", "a b,c>d{color:red}"),
        ("/* Copyright x */ a { b : c }", "/*! Copyright x */a{b:c}"),
        (
            "@media ( min-width : 1px ) and (max-width:2px) { a { b : calc( 1px + 2px ) } }",
            "@media (min-width:1px) and (max-width:2px){a{b:calc(1px + 2px)}}",
        ),
        ("a :hover { b : c }", "a :hover{b:c}"),
        ('a { b : url( x.png ) ; c : "/* no */" }', 'a{b:url(x.png);c:"/* no */"}'),
    ],
)
def test_styles(before: str, after: str) -> None:
    assert minified_style(before.encode()).decode() == after


@pytest.mark.parametrize(
    "style",
    [
        b"a { b : c } }",
        b"a b ;",
        b"@supports selector(a :hover) { b { c : d } }",
        b"/* x */ @charset 'x'; a { b : c }",
        b"a { b : '\xff' }",
        b"a { ; } x",
    ],
)
def test_styles_that_stay(style: bytes) -> None:
    with pytest.raises(KeptError):
        minified_style(style)


def test_what_rcssmin_breaks_is_kept() -> None:
    """It takes blanks out of an address, which is another one then."""
    with pytest.raises(KeptError, match="other rules"):
        minified_style(b"a { b: url('x  y') }")


def test_plan() -> None:
    script = b"a = 1 ;  // c\n"
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(b"p = 1 ;").digest()).decode()
    made = run(
        MinifyWeb,
        {
            "web/a.js": script,
            "web/mapped.js": script + b"//# sourceMappingURL=mapped.js.map\n",
            "web/mapped.js.map": b"{}",
            "web/unmapped.js": script + b"//# sourceMappingURL=elsewhere.js.map\n",
            "web/done.min.js": b"a=1;b=2;c=3;" * 20,
            "web/pinned.js": b"p = 1 ;",
            "web/index.html": f'<script src="pinned.js" integrity="{integrity}"></script>'.encode(),
            "web/large.css": b"a { b : c }" * 100,
        },
        {"max-size": 1000},
    )
    assert sorted(made.changed) == ["web/a.js", "web/unmapped.js"]
    assert made.kept == {
        "web/done.min.js": "it was minified already",
        "web/large.css": "it is larger than `max-size`",
        "web/mapped.js": "it has a source map, which would no longer fit",
        "web/pinned.js": "another file names its checksum",
    }


def test_options() -> None:
    files = {"web/a.js": b"a = 1 ;", "web/b.css": b"a { b : c }"}
    assert list(run(MinifyWeb, files, {"scripts": False}).changed) == ["web/b.css"]
    assert list(run(MinifyWeb, files, {"styles": False}).changed) == ["web/a.js"]
