from __future__ import annotations

import pytest

from hatch_mlbundle.globs import is_glob, matcher, selector


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.so", "a/b/c.so", True),
        ("*.so", "a/c.so.1", False),
        ("/a/*.py", "a/b.py", True),
        ("/a/*.py", "x/a/b.py", False),
        ("a/**/b.py", "a/x/y/b.py", True),
        ("tests", "pkg/tests/data/x.txt", True),
        ("tests/", "pkg/tests/x.txt", True),
        ("tests/", "pkg/tests", False),
        ("*.SO", "a.so", False),
        ("gr\u00fc\u00dfe*", "gr\u00fc\u00dfe.txt", True),
    ],
)
def test_a_glob_means_what_it_means_in_gitignore(pattern: str, path: str, matches: bool) -> None:
    assert matcher([pattern])(path) is matches


@pytest.mark.parametrize(
    ("pattern", "good"),
    [
        ("*.so", True),
        ("!a", True),
        ("", True),
        ("#", True),
        ("[a-z]", True),
        ("!", False),
        ("!  ", False),
        ("a\\", False),
        ("[z-a]", False),
    ],
)
def test_what_can_be_matched_is_a_glob(pattern: str, good: bool) -> None:
    assert is_glob(pattern) is good


def test_the_last_match_decides() -> None:
    matches = matcher(["*.txt", "!keep.txt"])
    assert (matches("a/x.txt"), matches("a/keep.txt")) == (True, False)


@pytest.mark.parametrize(
    ("include", "exclude", "selected"),
    [
        ([], [], ["a.py", "b.so", "t/a.py"]),
        (["*.py"], [], ["a.py", "t/a.py"]),
        ([], ["t/"], ["a.py", "b.so"]),
        (["*.py"], ["t/"], ["a.py"]),
        (["*.nothing"], [], []),
        (["*.py"], ["*.py"], []),
    ],
)
def test_exclude_is_stronger_than_include_and_no_include_means_everything(
    include: list[str], exclude: list[str], selected: list[str]
) -> None:
    assert list(filter(selector(include, exclude), ["a.py", "b.so", "t/a.py"])) == selected
