from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.errors import FindingsError
from hatch_mlbundle.model import Finding
from hatch_mlbundle.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("pkg/a b-1.0.so", "pkg/a b-1.0.so"),
        ("übergrößen/日本語.bin", "übergrößen/日本語.bin"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_moves_no_cursor_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_line_of_utf_8(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()


def test_a_finding_is_one_line_whatever_names_are_in_it() -> None:
    finding = Finding(code="MB433", path="a\x1b[2J\nb.so", message="c\nd has no code")
    assert finding.line() == r"MB433 a\x1b[2J\nb.so: c\nd has no code"
    assert FindingsError([finding]).told().count("\n") == 1
