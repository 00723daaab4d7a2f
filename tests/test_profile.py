from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.errors import ProfileError
from hatch_mlbundle.profile import Profile, load_profile

FIRST = Profile(runs=(("app", "a cat"),), used=frozenset({"app", "_internal/b"}), unused=frozenset({"_internal/c", "_internal/d"}))
SECOND = Profile(runs=(("app", "a dog"),), used=frozenset({"app", "_internal/c"}), unused=frozenset({"_internal/b", "_internal/e"}))
TEXT = """\
{
  "format": "mlbundle-profile",
  "format_version": "1.0",
  "runs": [
    {"command": ["app", "a cat"]}
  ],
  "used": [
    "_internal/b",
    "app"
  ],
  "asked": [],
  "unused": [
    "_internal/c",
    "_internal/d"
  ]
}
"""


def document(**changed: Any) -> str:
    plain = json.loads(TEXT)
    return json.dumps({key: value for key, value in {**plain, **changed}.items() if value is not None})


def test_a_line_for_each_file_sorted() -> None:
    assert FIRST.to_json() == TEXT


@pytest.mark.parametrize("profile", [FIRST, Profile(), Profile(used=frozenset({"na\u00efve/\udcff"}))])
def test_what_is_written_is_read(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "profile.json")
    assert load_profile(tmp_path / "profile.json") == profile


def test_used_by_either_is_used() -> None:
    both = FIRST.united(SECOND)
    assert both.used == {"app", "_internal/b", "_internal/c"}
    assert both.unused == {"_internal/d", "_internal/e"}
    assert both.runs == (("app", "a cat"), ("app", "a dog"))
    assert both == SECOND.united(FIRST)
    assert FIRST.united(FIRST) == FIRST


def test_of_each_path_the_most_that_either_did_with_it_counts() -> None:
    asking = Profile(used=frozenset({"a"}), asked=frozenset({"b", "c"}), unused=frozenset({"d"}))
    both = asking.united(Profile(used=frozenset({"b"}), unused=frozenset({"a", "c", "d"})))
    assert (both.used, both.asked, both.unused) == ({"a", "b"}, {"c"}, {"d"})
    assert Profile.from_json(both.to_json()) == both
    assert both.inventory == {"a", "b", "c", "d"}


def test_what_is_gone_leaves() -> None:
    left = FIRST.within({"app", "_internal/d", "_internal/new"})
    assert (left.used, left.unused, left.runs) == ({"app"}, {"_internal/d"}, FIRST.runs)


def test_a_merge_that_left_a_path_under_both_means_used() -> None:
    assert Profile.from_json(document(unused=["app", "x"])).unused == {"x"}


def test_a_later_minor_version_may_have_more_keys() -> None:
    assert Profile.from_json(document(format_version="1.7", reasons=[])) == FIRST


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (b"\xff\xfe\xff", "is no JSON"),
        ("[]", "is no profile"),
        (document(format="mlbundle-manifest"), "is no profile"),
        (document(format_version="2.0"), "has format version '2.0', this release reads 1.x"),
        (document(format_version=1), "has format version 1"),
        (document(used=None), "used is missing"),
        (document(unused={}), "unused: must be a list"),
        (document(used=["a", 7]), r"used\[1\]: must be a string, not '7'"),
        (document(runs=["app"]), r"runs\[0\]: must be an object, not 'app'"),
        (document(runs=[{}]), r"runs\[0\]: command is missing"),
        (document(runs=[{"command": [None]}]), r"runs\[0\]\.command\[0\]: must be a string"),
    ],
)
def test_a_profile_that_cannot_be_used_says_why_in_one_line(text: str | bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProfileError, match=told) as caught:
        load_profile(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_profile_says_how_to_record_it(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such profile; record it with `mlbundle trace"):
        load_profile(tmp_path / "none.json")


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path)
