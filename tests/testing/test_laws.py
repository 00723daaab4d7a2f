"""The kit finds faults: an optimizer that keeps all laws passes, and one that breaks a law is told so, and of no other."""

from __future__ import annotations

from typing import Any

import pytest

from hatch_mlbundle.api import File, Optimizer
from hatch_mlbundle.testing import LAWS, BrokenLawError, assert_deterministic, assert_laws
from tests.testing import misbehaving

FILES = {"one/a.txt": "first   \nsecond                            \nthird", "two/b.txt": "b \t\n# x", "c.bin": b"\0\1 \n"}


def trimmed(before: File, after: File) -> bool:
    return [line.rstrip() for line in before.read().split(b"\n")] == after.read().split(b"\n")


def test_one_that_keeps_them_all() -> None:
    assert_laws(misbehaving.Trim, FILES, equivalent=trimmed)


def test_the_input_has_to_show_something() -> None:
    with pytest.raises(AssertionError, match="Idle changes none of the files given, and says nothing of them"):
        assert_laws(misbehaving.Idle, FILES, without=dict.fromkeys(["safe", "deterministic", "parallel", "cacheable"], "show nothing here"))


def test_all_broken_laws_are_told_at_once() -> None:
    with pytest.raises(BrokenLawError) as caught:
        assert_laws(misbehaving.Careless, FILES, without=dict.fromkeys(["safe", "deterministic", "parallel", "cacheable"], "tried below"))
    assert str(caught.value) == (
        "Careless breaks the laws 'documented' and 'honest':\n"
        "  documented: the class has no docstring; its first line is what `mlbundle plugins` shows\n"
        "  honest: the reason of the change of one/a.txt is 'optimized', from which nobody learns why\n"
        "(docs/writing-an-optimizer.md says why, and what helps)"
    )


def test_a_law_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="there is no law 'fast'; there are: documented, honest"):
        assert_laws(misbehaving.Trim, FILES, without={"fast": "it is slow"})


def test_what_is_no_optimizer() -> None:
    with pytest.raises(TypeError, match="the laws are for the class of an optimizer, not for 'trim'"):
        assert_laws("trim", FILES)  # type: ignore[arg-type]


BROKEN: list[tuple[type[Optimizer[Any]], str, str]] = [
    (misbehaving.NoDocstring, "documented", "the class has no docstring; its first line is what `mlbundle plugins` shows"),
    (misbehaving.BadName, "documented", "BadName.name is 'Trim It', which is no lower-case identifier"),
    (misbehaving.UndocumentedOption, "documented", "the option `deeply` has no documentation; write option('What it does.', default=...)"),
    (misbehaving.Terse, "honest", "the reason of the change of one/a.txt is 'optimized', from which nobody learns why"),
    (misbehaving.Silent, "honest", "the reason of the change of one/a.txt is empty"),
    (misbehaving.Boastful, "honest", "it expects to save 1000000 bytes of one/a.txt, which has 49"),
    (
        misbehaving.Meddling,
        "honest",
        "it is at fault, as the finding says: MB104 trim: no/such.file: plugin tests: drop was refused: there is no",
    ),
    (
        misbehaving.Mumbling,
        "honest",
        "it is at fault, as the finding says: MB126 trim: plugin tests: reported what is no finding (its code is",
    ),
    (misbehaving.Trespassing, "honest", "rewrite() of one/a.txt raised PermissionError: [Errno 13] a plugin may not write here: '"),
    (
        misbehaving.Unspeakable,
        "honest",
        "it is at fault, as the finding says: MB125 trim: one/a.txt: plugin tests: gives details that are no JSON",
    ),
    (misbehaving.Growing, "never_larger", "the bundle grew from 60 to 1027 bytes; trimmed.log was added"),
    (misbehaving.Creeping, "idempotent", "a second run over its own result has a change for one/a.txt: rewrite (white space at"),
    (misbehaving.FirstCome, "deterministic", "with the files in another order, the file one/a.txt is text of mode 644, 18 B ("),
    (misbehaving.Overreaching, "selective", 'with exclude = ["*"], mark was made or changed all the same'),
    (misbehaving.Labelling, "cacheable", "with a cache that knows the same files in another folder (does the result depend on more than"),
    (misbehaving.local(), "parallel", "the class and its options cannot be pickled ("),
    (misbehaving.Forgetful, "parallel", "with 16 threads over 8 copies of the files, the file copy"),
    (
        misbehaving.Trusting,
        "safe",
        "given empty files alone, rewrite() of one/a.txt raised IndexError: list index out of range (misbehaving.py, line",
    ),
    (
        misbehaving.Exacting,
        "safe",
        "given zeros in the place of one/a.txt, it is at fault, as the finding says: MB101 trim: plugin tests: failed while planning (",
    ),
    (misbehaving.Quitting, "safe", "given no file at all, plan() raised SystemExit: 2 (misbehaving.py, line"),
    (misbehaving.Endless, "safe", "given empty files alone, it is at fault, as the finding says: MB121 trim: "),
    (misbehaving.Harmful, "safe", "given zeros in the place of one/a.txt, one/a.txt was changed, and is not equivalent to what it was"),
]


@pytest.mark.parametrize(("optimizer", "law", "what"), BROKEN, ids=[cls.__name__ for cls, _, _ in BROKEN])
def test_one_that_breaks_a_law(optimizer: type[Optimizer[Any]], law: str, what: str) -> None:
    with pytest.raises(BrokenLawError) as caught:
        LAWS[law](optimizer, FILES, {"timeout": 2} if law == "safe" else {}, equivalent=trimmed)
    assert str(caught.value).startswith(f"{optimizer.__name__} breaks the law {law!r}: {what}")
    others = ["documented", "honest", "never_larger", "idempotent", "selective"]
    for name in others if optimizer not in (misbehaving.BadName, misbehaving.Unspeakable, misbehaving.Trespassing) else ():
        if name != law:
            LAWS[name](optimizer, FILES, equivalent=trimmed)


@pytest.mark.parametrize(
    ("optimizer", "what"),
    [
        (misbehaving.Hashing, "in another process (another folder, PYTHONHASHSEED="),
        (
            misbehaving.Stamping,
            "in another process (another folder, PYTHONHASHSEED=4, umask 002, clock 40000000 s ahead), the file one/a.txt is",
        ),
    ],
)
def test_what_differs_only_elsewhere(optimizer: type[Optimizer[Any]], what: str) -> None:
    with pytest.raises(BrokenLawError) as caught:
        assert_deterministic(optimizer, FILES)
    assert f"breaks the law 'deterministic': {what}" in str(caught.value)
