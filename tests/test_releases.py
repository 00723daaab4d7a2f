from __future__ import annotations

import pytest

from hatch_mlbundle.compare import VersionChange, compare
from hatch_mlbundle.manifest import Manifest, ToolRow
from hatch_mlbundle.releases import owner_name, release_free
from tests.manifests import manifest_of

WHEEL = "demo-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("numpy", "numpy"),
        ("Foo_Bar", "foo-bar"),
        ("foo.bar", "foo-bar"),
        ("numpy.libs", "numpy"),
        ("numpy-2.4.0.dist-info", "numpy"),
        ("scikit_learn-1.9.1.data", "scikit-learn"),
        ("foo_bar-1.0-py3.11.egg-info", "foo-bar"),
        ("_pytest", "pytest"),
        ("", ""),
        ("__", "__"),
        ("a\nb", "a\nb"),
    ],
)
def test_owners_go_by_one_name(owner: str, name: str) -> None:
    assert owner_name(owner) == name


def test_a_path_without_release_is_itself() -> None:
    for path in ("a/b/c.py", "model.safetensors", "", "x" * 300, "a\nb/\udcff"):
        assert release_free(path) == path


def versions(before: Manifest, after: Manifest) -> list[tuple[str, str | None, str | None]]:
    return [(change.distribution, change.before, change.after) for change in compare(before, after).versions]


def test_releases_that_changed_came_and_went() -> None:
    before = manifest_of({"Foo_Bar-1.0.dist-info/METADATA": b"1", "same-1.dist-info/METADATA": b"1", "gone-1.dist-info/METADATA": b"1"})
    after = manifest_of({"foo.bar-1.1.dist-info/METADATA": b"1", "same-1.dist-info/METADATA": b"1", "egg-3-py3.11.egg-info": b"1"})
    assert versions(before, after) == [("egg", None, "3"), ("foo-bar", "1.0", "1.1"), ("gone", "1", None)]


def test_a_distribution_that_is_there_in_several_versions() -> None:
    before = manifest_of({"a/site-packages/x-1.10.dist-info/METADATA": b"1", "b/site-packages/x-1.9.dist-info/METADATA": b"1"})
    after = manifest_of({"a/site-packages/x-1.10.dist-info/METADATA": b"1", "b/site-packages/x-1.10.dist-info/METADATA": b"1"})
    assert versions(before, after) == [("x", "1.9, 1.10", "1.10")]


def test_what_a_package_vendors_is_no_distribution() -> None:
    before = manifest_of({"setuptools/_vendor/wheel-0.43.dist-info/METADATA": b"1"})
    assert versions(before, manifest_of({})) == []


def test_a_wheel_names_its_own_release() -> None:
    before = manifest_of({"demo/x": b"1"}, name="demo-1.0-py3-none-any.whl", kind="wheel")
    after = manifest_of({"demo/x": b"1", "demo-1.1.dist-info/METADATA": b"1"}, name="Demo-1.1-py3-none-any.whl", kind="wheel")
    assert versions(before, after) == [("demo", "1.0", "1.1")]


def test_a_release_that_nothing_tells_is_no_change() -> None:
    wheel = manifest_of({"demo/x": b"1"}, name=WHEEL, kind="wheel")
    frozen = manifest_of({"_internal/demo/x": b"1"}, kind="frozen")
    assert versions(wheel, frozen) == versions(frozen, wheel) == []
    assert versions(wheel, manifest_of({})) == [("demo", "1.0", None)]


def test_another_python_is_named() -> None:
    minor = [
        manifest_of({f"_internal/libpython3.{minor}.so.1.0": b"1"}, tools=[ToolRow(name="python", version="3.9.1")]) for minor in (11, 12)
    ]
    assert versions(*minor) == [("python", "3.11", "3.12")]
    tools = [
        [ToolRow(name="python", version=python), ToolRow(name="pyinstaller", version=pyinstaller)]
        for python, pyinstaller in (("3.11.7", "6.1"), ("3.11.9", "6.2"))
    ]
    frozen = [manifest_of({"_internal/libpython3.11.so.1.0": b"1"}, tools=each) for each in tools]
    assert versions(*frozen) == [("pyinstaller", "6.1", "6.2"), ("python", "3.11.7", "3.11.9")]
    assert versions(frozen[0], minor[0]) == []


def test_an_analyzing_python_is_not_that_of_the_artifact() -> None:
    sides = [manifest_of({"a/x": b"1"}, tools=[ToolRow(name="python", version=version)]) for version in ("3.11.7", "3.12.1")]
    assert versions(*sides) == []


def test_versions_are_normalized_where_they_can_be() -> None:
    before, after = (manifest_of({f"x-{version}.dist-info/RECORD": b"1"}) for version in ("odd!", "1.0.beta"))
    assert compare(before, after).versions == (VersionChange(distribution="x", before="odd!", after="1.0b0"),)
    assert versions(after, manifest_of({"x-1.0b0.dist-info/RECORD": b"1"})) == []
