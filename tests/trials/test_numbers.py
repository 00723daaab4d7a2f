"""Texts compared number by number."""

from __future__ import annotations

import pytest

from hatch_mlbundle.trials.numbers import Tolerance, numeric_difference

STRICT = Tolerance(relative=1e-5, absolute=1e-8)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("loss 0.5 at 10", "loss 0.500001 at 10", None),
        ("[ 0.1 -0.2]\nnan -inf 1e300", "[0.1  -0.2]\nNaN -Infinity 1E+300", None),
        ("x=0.0", "x=-1e-12", None),
        ("9007199254740993", "9007199254740992", None),
        ("loss 0.5\nloss 0.6", "loss 0.5\nloss 0.7", "line 2 of its output is 0.7 instead of 0.6 (off by 0.1)"),
        ("1\n2\n3\n4", "1\n2.1\n5\n4", "line 3 of its output is 5 instead of 3 (off by 2, the most of 2)"),
        ("a 1", "b 1", "line 1 of its output says 'b' instead of 'a'"),
        ("layer1 0", "layer2 0", "line 1 of its output says 'layer2' instead of 'layer1'"),
        ("v1.2.3", "v1.2.4", "line 1 of its output says 'v1.2.4' instead of 'v1.2.3'"),
        ("1 2", "1 2 3", "line 1 of its output goes on with '3'"),
        ("1 2\n3 4", "1 2", "its output ends before '3' of line 2"),
        ("1 nan", "1 2", "line 1 of its output is 2 instead of nan"),
        ("inf", "-inf", "line 1 of its output is -inf instead of inf"),
        ("1", "x", "line 1 of its output says 'x' instead of '1'"),
        ("9" * 400, "8" * 400, f"line 1 of its output is {'8' * 57}... instead of {'9' * 57}..."),
        ("2 -1", "2 1", "line 1 of its output is 1 instead of -1 (off by 2)"),
        ("2-1", "2-3", "line 1 of its output is 3 instead of 1 (off by 2)"),
        ("3.5ms", "3.6ms", "line 1 of its output is 3.6 instead of 3.5 (off by 0.1)"),
    ],
)
def test_what_is_told(before: str, after: str, line: str | None) -> None:
    assert numeric_difference(before.splitlines(), after.splitlines(), STRICT, "its output") == line


@pytest.mark.parametrize("text", ["1 2.5 x\nnan", "9" * 400, "", "a-1e5, inf"])
def test_the_same_is_the_same(text: str) -> None:
    assert numeric_difference(text.splitlines(), text.splitlines(), Tolerance(relative=0.0, absolute=0.0), "its output") is None
