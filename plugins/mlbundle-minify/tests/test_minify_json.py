"""White space goes from JSON, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlbundle_minify.json_text import minified, minified_lines
from mlbundle_minify.minify_json import MinifyJson

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.testing import run


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{ "a" : 1.0 , "a" : 1.00e5 }', '{"a":1.0,"a":1.00e5}'),
        ("[ -0, 1E400, 12345678901234567890, NaN, -Infinity ]", "[-0,1E400,12345678901234567890,NaN,-Infinity]"),
        ('[ "\\ud800 \\u00e9 é  \\" , \\\\" ]', '["\\ud800 \\u00e9 é  \\" , \\\\"]'),
        ('{\r\n\t"b": {},\r\n\t"a": [ ]\r\n}\r\n', '{"b":{},"a":[]}'),
        (' "a b" ', '"a b"'),
        ("1 ", "1"),
    ],
)
def test_tokens_stay_as_they_were_written(before: str, after: str) -> None:
    assert minified(before.encode()).decode() == after


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_value(value: object) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, indent=2, ensure_ascii=ascii_only)
        tight = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
        try:
            assert minified(text.encode()).decode() == tight
        except UnicodeEncodeError:
            assert not ascii_only


def test_lines_stay_apart() -> None:
    assert minified_lines(b'{"a": 1}\n\n[1, 2]\r\n"x  y"') == b'{"a":1}\n\n[1,2]\n"x  y"'


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1} // note',
        b'{"a": 1,}',
        b"\xef\xbb\xbf{ }",
        b'"\xff "',
        '{ "a": 1 }'.encode("utf-16"),
        b"[ 1 ] [ 2 ]",
        b" ",
        b"[" * 100_000,
        b'["\n"]',
    ],
)
def test_what_is_no_json_stays(text: bytes) -> None:
    with pytest.raises(KeptError):
        minified(text)
    assert run(MinifyJson, {"pkg/a.json": text}).files == {"pkg/a.json": text}


def test_which_files() -> None:
    text = b'{ "a": 1 }'
    files = ["pkg/a.json", "pkg/a.ipynb", "pkg-1.dist-info/direct_url.json", "pkg/a.JSON", "pkg/model.safetensors.index.json"]
    made = run(MinifyJson, {**dict.fromkeys(files, text), "pkg/big.json": text + b" " * 99}, {"max-size": 50})
    assert sorted(made.changed) == ["pkg/a.JSON", "pkg/a.json", "pkg/model.safetensors.index.json"]
    assert made.kept == {"pkg/big.json": "it is larger than `max-size`"}


def test_the_same_bytes_as_lines_and_as_one_value() -> None:
    """What a suffix decides must not come out of the cache for another one."""
    text = b'{ "a": 1 }\n'
    made = run(MinifyJson, {"pkg/a.json": text, "pkg/b.jsonl": text})
    assert made.files == {"pkg/a.json": b'{"a":1}', "pkg/b.jsonl": b'{"a":1}\n'}
