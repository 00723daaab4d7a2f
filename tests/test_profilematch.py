from __future__ import annotations

from collections.abc import Iterable

import pytest

from hatch_mlbundle.profile import Profile
from hatch_mlbundle.profilematch import ProfileMatch

FROZEN = (
    "app",
    "_internal/app.pyz/app.pyc",
    "_internal/app.pyz/pkg/__init__.pyc",
    "_internal/app.pyz/pkg/mod.pyc",
    "_internal/pkg/data.txt",
)
VENV = ("pkg/__init__.py", "pkg/mod.py", "pkg/data.txt", "pkg/__pycache__/mod.cpython-311.pyc", "pip/__init__.py", "pkg-1.dist-info/RECORD")


def match(used: Iterable[str], unused: Iterable[str], paths: Iterable[str]) -> ProfileMatch:
    return ProfileMatch(Profile(used=frozenset(used), unused=frozenset(unused)), list(paths))


def unused(found: ProfileMatch, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if found.is_unused(path)]


def test_a_frozen_application_is_compared_path_by_path() -> None:
    paths = (*FROZEN, "_internal/pkg/mod.py")
    found = match(FROZEN[:3], FROZEN[3:], paths)
    assert unused(found, paths) == [*FROZEN[3:]]
    assert found.is_used("_internal/app.pyz/app.pyc")
    assert (found.unknown, found.missing, found.foreign) == (("_internal/pkg/mod.py",), (), False)


def test_the_tables_of_a_spec_file_have_no_folder_of_contents() -> None:
    tables = [path.removeprefix("_internal/") for path in FROZEN if path != "app"]
    found = match(FROZEN[:3], FROZEN[3:], tables)
    assert unused(found, tables) == ["app.pyz/pkg/mod.pyc", "pkg/data.txt"]
    assert not found.unknown


def test_the_profile_of_an_environment_fits_a_wheel_with_its_schemes() -> None:
    wheel = ["pkg/__init__.py", "pkg-2.data/purelib/pkg/mod.py", "pkg-2.data/platlib/pkg/data.txt", "pkg-2.dist-info/RECORD"]
    found = match(VENV[:2], VENV[2:], wheel)
    assert unused(found, wheel) == ["pkg-2.data/platlib/pkg/data.txt"]
    assert (found.unknown, found.missing, found.foreign) == ((), (), False)


def test_what_a_wheel_lacks_of_other_distributions_is_not_missed() -> None:
    found = match(["pip/__init__.py", "pkg/__init__.py", "pkg/gone.py"], ["pkg/mod.py"], ["pkg/__init__.py", "pkg/mod.py"])
    assert found.missing == ("pkg/gone.py",)
    assert not found.foreign


def test_a_folder_of_packages_may_lie_deeper() -> None:
    paths = [f"lib/python3.11/site-packages/{path}" for path in VENV]
    found = match(VENV[:1], VENV[1:], paths)
    assert unused(found, paths) == paths[1:]
    assert not found.unknown


def test_cached_bytecode_that_was_read_stands_for_its_source() -> None:
    found = match([VENV[0], VENV[3]], [VENV[1], VENV[2]], VENV[:3])
    assert found.is_used("pkg/mod.py")
    assert not found.missing


def test_the_profile_of_an_environment_fits_a_frozen_bundle_module_by_module() -> None:
    standard = "_internal/app.pyz/sqlite3/__init__.pyc"
    paths = [*FROZEN, standard, "_internal/pkg/mod.py", "_internal/pkg/new.txt"]
    found = match(VENV[:1], VENV[1:], paths)
    assert unused(found, paths) == ["_internal/app.pyz/pkg/mod.pyc", "_internal/pkg/data.txt", "_internal/pkg/mod.py"]
    assert found.is_used("_internal/app.pyz/pkg/__init__.pyc")
    assert found.unknown == ("_internal/pkg/new.txt",)
    assert not found.missing


def test_the_profile_of_a_frozen_application_fits_a_wheel_of_it() -> None:
    found = match(FROZEN[:3], FROZEN[3:], VENV[:3])
    assert unused(found, VENV[:3]) == ["pkg/mod.py", "pkg/data.txt"]


@pytest.mark.parametrize(
    ("used", "unused_", "paths"),
    [
        ((), (), FROZEN),
        (("_internal/app.pyz/x.pyc", "_internal/y", "app"), (), ("app", "_internal/app.pyz/app.pyc")),
        (("other/__init__.py",), ("other/mod.py",), VENV),
    ],
)
def test_a_profile_with_little_in_common_is_foreign(used: Iterable[str], unused_: Iterable[str], paths: Iterable[str]) -> None:
    assert match(used, unused_, paths).foreign


def test_a_profile_of_which_nothing_is_missing_is_of_the_same_application_however_many_files_are_new() -> None:
    found = match(FROZEN[:2], (), FROZEN)
    assert (found.foreign, found.unknown, found.missing) == (False, FROZEN[2:], ())
