from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.compare import Comparison, FileChange, GroupChange, Sizes, VersionChange, compare
from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, Saved, ToolRow, Totals
from hatch_mlbundle.releases import owner_name, release_free

WHEEL = "demo-1.0-py3-none-any.whl"


def manifest_of(
    files: Mapping[str, bytes | FileState],
    *,
    name: str = "demo",
    kind: str = "folder",
    structure: int = 0,
    packs: bool = False,
    hashed: bool = True,
    owners: Mapping[str, str] | None = None,
    tools: Sequence[ToolRow] = (),
) -> Manifest:
    """Return the manifest of an artifact with these files; a file belongs to its first folder unless `owners` says otherwise."""
    rows = []
    for path, data in sorted(files.items()):
        state = data if isinstance(data, FileState) else state_of(data, packs=packs, hashed=hashed)
        owner = (owners or {}).get(path) or path.removeprefix("_internal/").partition("/")[0]
        rows.append(FileRow(path=path, kind="elf" if ".so" in path else path.rpartition(".")[2], owner=owner, before=state, after=state))
    states = [row.after for row in rows if row.after]
    installed = sum(state.size for state in states)
    size = structure + sum(state.compressed or 0 for state in states) if packs else installed
    totals = Totals(size=size, installed=installed, structure=structure, files=len(states), sha256=None)
    return Manifest(
        generator="test",
        artifact=ArtifactRow(name=name, kind=kind, before=totals, after=totals),
        tools=tuple(tools),
        configuration={},
        steps=(),
        remainder=Saved(installed=0, compressed=0 if packs else None),
        files=tuple(rows),
        companions=(),
        findings=(),
    )


def state_of(data: bytes, *, packs: bool = False, hashed: bool = True) -> FileState:
    digest = hashlib.sha256(data).hexdigest() if hashed else None
    return FileState(size=len(data), compressed=len(data) // 2 + 1 if packs else None, sha256=digest)


def told(comparison: Comparison) -> list[tuple[str, str, str | None]]:
    return sorted((change.status, change.path, change.former) for change in comparison.files)


def differences(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[tuple[str, str, str | None]]:
    return told(compare(manifest_of(before), manifest_of(after)))


def test_every_status_is_told_and_what_is_as_it_was_is_not() -> None:
    before = {"a/same.py": b"same", "a/longer.py": b"1", "a/here.py": b"moves as it is", "a/gone.py": b"gone"}
    after = {"a/same.py": b"same", "a/longer.py": b"22", "b/there.py": b"moves as it is", "a/new.py": b"new"}
    comparison = compare(manifest_of(before), manifest_of(after))
    assert [(change.status, change.path, change.former, change.growth) for change in comparison.files] == [
        ("removed", "a/gone.py", None, -4),
        ("added", "a/new.py", None, 3),
        ("changed", "a/longer.py", None, 1),
        ("moved", "b/there.py", "a/here.py", 0),
    ]
    assert comparison.growth == 0
    assert comparison.unchanged == GroupChange(
        name="unchanged", before=Sizes(installed=4, compressed=None, files=1), after=Sizes(installed=4, compressed=None, files=1)
    )


def test_bytes_of_another_content_and_the_same_size_are_a_change() -> None:
    assert differences({"a": b"1"}, {"a": b"2"}) == [("changed", "a", None)]


def test_the_same_artifact_is_no_difference() -> None:
    manifest = manifest_of({"a/x": b"1", "a/y": b"", "b/z": b"1"}, packs=True, structure=7)
    comparison = compare(manifest, manifest)
    assert comparison.same
    assert comparison.files == comparison.versions == ()
    assert [group.name for group in comparison.owners] == ["a", "b"]


def test_two_artifacts_of_nothing() -> None:
    comparison = compare(manifest_of({}), manifest_of({}))
    assert comparison.same
    assert comparison.owners == comparison.kinds == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("numpy/core/x.py", "_internal/numpy/core/x.py"),
        ("numpy/core/x.py", "usr/lib/python3/dist-packages/numpy/core/x.py"),
        ("numpy/core/x.py", "usr/local/lib/python3.12/site-packages/numpy/core/x.py"),
        ("_internal/one.pyz/numpy/x.pyc", "_internal/two.pyz/numpy/x.pyc"),
        ("demo-1.0.data/purelib/numpy/x.py", "numpy/x.py"),
        ("numpy-2.4.5.dist-info/METADATA", "numpy-2.4.6.dist-info/METADATA"),
        ("Foo_Bar-1.0.dist-info/METADATA", "foo.bar-1.0.post1+cpu.dist-info/METADATA"),
        ("foo-1.0-py3.11.egg-info/PKG-INFO", "foo-1.1-py3.12.egg-info/PKG-INFO"),
        ("foo-1.0.data/scripts/run", "foo-1.1.data/scripts/run"),
        ("numpy.libs/libopenblas64_p-r0-3c9b0a11.so", "numpy.libs/libopenblas64_p-r0-0f1e2d3c.so"),
        ("numpy.libs/libopenblasp-r0-2d23e62b.3.17.so", "numpy.libs/libopenblasp-r0-41284840.3.18.so"),
        ("numpy.libs/libgfortran-040039e1-0352e75f.so.5.0.0", "numpy.libs/libgfortran-040039e1.so.5"),
        ("numpy.libs/msvcp140-263139962577ecda4cd9469ca360a746.dll", "numpy.libs/msvcp140-a4c2229bdc2a2a630acdc095b4d86008.dll"),
        ("lib/libfoo.so.1.2.3", "lib/libfoo.so.1.3"),
        ("lib/libfoo.1.2.dylib", "lib/libfoo.2.dylib"),
        ("a/_x.cpython-311-x86_64-linux-gnu.so", "a/_x.cpython-312-x86_64-linux-gnu.so"),
        ("a/_x.cpython-311-x86_64-linux-gnu.so", "a/_x.abi3.so"),
        ("a/_x.cp311-win_amd64.pyd", "a/_x.cp313t-win_amd64.pyd"),
        ("a/__pycache__/x.cpython-311.pyc", "a/__pycache__/x.cpython-312.pyc"),
        ("_internal/libpython3.11.so.1.0", "_internal/libpython3.12.so.1.0"),
        ("_internal/python311.dll", "_internal/python312.dll"),
        ("_internal/python3.11/lib-dynload/_csv.so", "_internal/python3.12/lib-dynload/_csv.so"),
    ],
)
def test_the_same_file_of_another_release_or_root(before: str, after: str) -> None:
    assert differences({before: b"old"}, {after: b"newer"}) == [("moved", after, before)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a/x.py", "b/x.py"),
        ("a/model-1.bin", "a/model-2.bin"),
        ("lib/libfoo.so.1", "other/libfoo.so.2"),
        ("foo-1.0.dist-info/METADATA", "bar-1.0.dist-info/METADATA"),
        ("pip/_internal/x.py", "x.py"),
    ],
)
def test_what_is_another_file(before: str, after: str) -> None:
    assert differences({before: b"old"}, {after: b"newer"}) == [("added", after, None), ("removed", before, None)]


def test_content_is_told_before_release() -> None:
    before = {"lib/libfoo.so.1": b"first"}
    after = {"lib/libfoo.so.2": b"second", "else/libfoo.so.1": b"first"}
    assert differences(before, after) == [("added", "lib/libfoo.so.2", None), ("moved", "else/libfoo.so.1", "lib/libfoo.so.1")]


def test_a_link_is_not_taken_for_the_library_of_another_release() -> None:
    before = manifest_of({"lib/libfoo.so.1": b"library"})
    after = manifest_of({"lib/libfoo.so": b"", "lib/libfoo.so.2": b"library, newer"})
    link, library = after.files
    after = replace(after, files=(replace(link, kind="link"), library))
    assert told(compare(before, after)) == [("added", "lib/libfoo.so", None), ("moved", "lib/libfoo.so.2", "lib/libfoo.so.1")]


def test_empty_files_never_pair_by_content() -> None:
    assert differences({"a/x": b""}, {"b/y": b""}) == [("added", "b/y", None), ("removed", "a/x", None)]


def test_a_new_copy_is_added_and_a_lost_one_removed() -> None:
    one, two = {"a/x": b"data"}, {"a/x": b"data", "a/y": b"data"}
    assert differences(one, two) == [("added", "a/y", None)]
    assert differences(two, one) == [("removed", "a/y", None)]


def test_copies_are_told_apart_by_their_places() -> None:
    before = {f"{name}/LICENSE": b"the same licence" for name in "abcdef"}
    after = {f"_internal/{name}/LICENSE": b"the same licence" for name in "abcdef"}
    assert differences(before, after) == [("moved", f"_internal/{name}/LICENSE", f"{name}/LICENSE") for name in "abcdef"]
    image = {f"srv/app/{name}/LICENSE": b"the same licence" for name in "abcdef"}
    assert differences(before, image) == [("moved", f"srv/app/{name}/LICENSE", f"{name}/LICENSE") for name in "abcdef"]


def test_boilerplate_of_another_package_did_not_move() -> None:
    before = {"a-1.dist-info/INSTALLER": b"pip\n", "b-1.dist-info/INSTALLER": b"pip\n"}
    after = {"a-1.dist-info/INSTALLER": b"pip\n", "c-1.dist-info/INSTALLER": b"pip\n"}
    assert differences(before, after) == [("added", "c-1.dist-info/INSTALLER", None), ("removed", "b-1.dist-info/INSTALLER", None)]


def test_of_copies_in_a_package_the_same_name_and_then_the_nearest_is_the_one() -> None:
    before = {"p/one/x.bin": b"data", "p/one/deep/y.bin": b"data"}
    after = {"p/two/y.bin": b"data", "p/two/x.bin": b"data"}
    assert differences(before, after) == [("moved", "p/two/x.bin", "p/one/x.bin"), ("moved", "p/two/y.bin", "p/one/deep/y.bin")]
    before = {"p/a/b/x.bin": b"data", "p/x.bin": b"data", "p/stays": b"data"}
    after = {"p/a/c/x.bin": b"data", "p/stays": b"data"}
    assert differences(before, after) == [("moved", "p/a/c/x.bin", "p/a/b/x.bin"), ("removed", "p/x.bin", None)]


def test_exchanged_contents_are_changes() -> None:
    assert differences({"a": b"11", "b": b"22"}, {"a": b"22", "b": b"11"}) == [("changed", "a", None), ("changed", "b", None)]


def test_without_hashes_sizes_alone_are_compared() -> None:
    before = {"a/x": b"1", "a/y": b"2", "a/z": b"moves"}
    after = {"a/x": b"3", "a/y": b"44", "b/z": b"moves"}
    for hashed in ((True, False), (False, True), (False, False)):
        comparison = compare(manifest_of(before, hashed=hashed[0]), manifest_of(after, hashed=hashed[1]))
        assert not comparison.hashed
        assert told(comparison) == [("added", "b/z", None), ("changed", "a/y", None), ("removed", "a/z", None)]
    assert compare(manifest_of(before), manifest_of(after)).hashed


def test_without_hashes_another_release_is_still_told_by_its_name() -> None:
    before, after = (manifest_of({f"n-{version}.dist-info/RECORD": b"x" * version}, hashed=False) for version in (1, 2))
    assert told(compare(before, after)) == [("moved", "n-2.dist-info/RECORD", "n-1.dist-info/RECORD")]


def test_a_wheel_and_what_it_was_unpacked_to_are_the_same() -> None:
    files = {"sklearn/x.py": b"x" * 50, "scikit_learn.libs/y.so": b"y" * 9, "scikit_learn-1.0.dist-info/RECORD": b"z"}
    wheel = manifest_of(files, name="scikit_learn-1.0-py3-none-any.whl", kind="wheel", structure=40, packs=True)
    folder = manifest_of(files, owners=dict.fromkeys(files, "scikit_learn"))
    comparison = compare(wheel, folder)
    assert comparison.same
    assert not comparison.compressed
    assert comparison.compressed_growth is comparison.structure_growth is None
    assert sum(abs(group.growth) for group in comparison.kinds) == 0


def test_an_owner_of_another_name_is_the_same_where_its_bytes_are() -> None:
    wheel = manifest_of({"sklearn/x.py": b"x" * 50, "sklearn/y.py": b"y" * 9}, kind="wheel", packs=True)
    folder = manifest_of({"sklearn/x.py": b"x" * 50, "sklearn/y.py": b"y" * 12}, owners=dict.fromkeys(wheel_paths(wheel), "scikit_learn"))
    for comparison in (compare(wheel, folder), compare(folder, wheel)):
        assert [(group.name, abs(group.growth)) for group in comparison.owners] == [("scikit-learn", 3)]
        assert [change.owner for change in comparison.files] == ["scikit-learn"]


def wheel_paths(manifest: Manifest) -> list[str]:
    return [row.path for row in manifest.files]


def test_a_library_that_another_package_takes_over_counts_for_each_where_it_was() -> None:
    library = {"liby.so": b"y" * 100}
    before = manifest_of({"one/x.py": b"1", "two/x.py": b"2", "one/liby.so": library["liby.so"]})
    after = manifest_of({"one/x.py": b"1", "two/x.py": b"2", "two/liby.so": library["liby.so"]})
    assert [(group.name, group.growth) for group in compare(before, after).owners] == [("one", -100), ("two", 100)]


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


def test_owners_of_one_name_are_one_group_and_sorted_by_growth() -> None:
    before = manifest_of({"Foo_Bar/x": b"1", "small/x": b"1"})
    after = manifest_of({"foo-bar/x": b"1", "foo.bar/y": b"22", "small/x": b"1", "zebra/x": b"4444", "apple/x": b"5555"})
    assert [(group.name, group.growth, group.after.files) for group in compare(before, after).owners] == [
        ("apple", 4, 1),
        ("zebra", 4, 1),
        ("foo-bar", 2, 2),
        ("small", 0, 1),
    ]


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


def test_compressed_growth_adds_up_with_what_was_only_compressed_otherwise() -> None:
    before = manifest_of({"a/x": b"1" * 50, "a/y": b"2" * 20}, packs=True, structure=10, kind="wheel")
    after = manifest_of(
        {"a/x": FileState(size=50, compressed=3, sha256=state_of(b"1" * 50).sha256), "a/y": b"3" * 40},
        packs=True,
        structure=14,
        kind="wheel",
    )
    comparison = compare(before, after)
    assert [(change.path, change.compressed_growth) for change in comparison.files] == [("a/y", 10)]
    assert comparison.unchanged.compressed_growth == 3 - 26
    assert comparison.structure_growth == 4
    assert comparison.compressed_growth == 10 - 23 + 4
    assert not comparison.same


def test_files_come_by_what_they_grew_or_shrank() -> None:
    before = {"a": b"", "b": b"1" * 9, "c": b"1", "d": b"2"}
    after = {"a": b"1" * 3, "b": b"", "c": b"3", "d": b"4"}
    assert [change.path for change in compare(manifest_of(before), manifest_of(after)).files] == ["b", "a", "c", "d"]


NAMES = st.sampled_from(
    [
        "a/x.py",
        "a/y.py",
        "b/x.py",
        "_internal/a/x.py",
        "n-1.dist-info/M",
        "n-2.dist-info/M",
        "a/l.so.1",
        "a/l.so.2",
        "c/l.so",
        "\udcff\n.py",
    ]
)
CONTENTS = st.sampled_from([b"", b"1", b"22", b"333", b"4444"])
SIDES = st.builds(
    lambda files, structure, packs, hashed: manifest_of(files, structure=structure if packs else 0, packs=packs, hashed=hashed),
    st.dictionaries(NAMES, CONTENTS),
    st.integers(0, 9),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES)
def test_all_totals_reconcile(before: Manifest, after: Manifest) -> None:
    comparison = compare(before, after)
    growth = after.artifact.after.installed - before.artifact.after.installed
    assert comparison.growth == growth
    for rows in (comparison.owners, comparison.kinds, comparison.files):
        assert sum(row.growth for row in rows) == growth
    if comparison.compressed:
        structure = comparison.structure_growth or 0
        total = after.artifact.after.size - before.artifact.after.size
        assert comparison.compressed_growth == total
        for groups in (comparison.owners, comparison.kinds):
            assert sum(group.compressed_growth or 0 for group in groups) + structure == total
        changes = [*comparison.files, comparison.unchanged]
        assert sum(change.compressed_growth or 0 for change in changes) + structure == total
    for groups in (comparison.owners, comparison.kinds):
        assert sum(group.before.files for group in groups) == len(before.files)
        assert sum(group.after.files for group in groups) == len(after.files)


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES)
def test_each_file_is_told_once(before: Manifest, after: Manifest) -> None:
    comparison = compare(before, after)
    olds = [change.former or change.path for change in comparison.files if change.before]
    news = [change.path for change in comparison.files if change.after]
    assert len(set(olds)) == len(olds)
    assert len(set(news)) == len(news)
    assert {*olds} <= {row.path for row in before.files}
    assert {*news} <= {row.path for row in after.files}
    assert len(before.files) - len(olds) == len(after.files) - len(news) == comparison.unchanged.after.files


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES)
def test_the_way_back_mirrors_the_way_there(before: Manifest, after: Manifest) -> None:
    there, back = compare(before, after), compare(after, before)
    assert {_ends(change) for change in there.files} == {_ends(change)[::-1] for change in back.files}
    assert {(group.name, group.growth) for group in there.owners} == {(group.name, -group.growth) for group in back.owners}
    assert [(each.distribution, each.before, each.after) for each in there.versions] == [
        (each.distribution, each.after, each.before) for each in back.versions
    ]
    assert compare(before, before).same


def _ends(change: FileChange) -> tuple[tuple[str, FileState] | None, tuple[str, FileState] | None]:
    old = (change.former or change.path, change.before) if change.before else None
    return old, (change.path, change.after) if change.after else None


HOSTILE = ["new\nline.py", "<script>alert(1)</script>", "a|b`c`.py", "\x1b[31mred", "\u202egnp.exe", "\udcff.bin", "x" * 300, "[bold]x[/]"]


def test_the_json_tells_all_of_it_exactly() -> None:
    before = manifest_of(dict.fromkeys(HOSTILE, b"1") | {"n-1.dist-info/M": b"1"}, packs=True, structure=3)
    after = manifest_of({f"d/{name}": b"22" for name in HOSTILE} | {"n-2.dist-info/M": b"22"}, packs=True, structure=5)
    comparison = compare(before, after)
    text = comparison.to_json()
    assert text.encode().decode() == text
    document = json.loads(text)
    assert list(document)[:2] == ["format", "format_version"]
    assert (document["format"], document["format_version"]) == ("mlbundle-comparison", "1.0")
    assert document["growth"] == {"installed": comparison.growth, "compressed": comparison.compressed_growth}
    assert [row["path"] for row in document["files"]] == [change.path for change in comparison.files]
    assert {*HOSTILE} < {row["path"] for row in document["files"]}
    assert document["versions"] == [{"distribution": "n", "before": "1", "after": "2"}]
    for part in ("owners", "kinds", "files"):
        assert sum(row["growth"]["installed"] for row in document[part]) == comparison.growth
    assert sum(1 for line in text.splitlines() if '"status"' in line) == len(comparison.files)


def test_the_json_of_sides_that_do_not_both_compress_has_no_growth_of_it() -> None:
    comparison = compare(manifest_of({"a": b"1"}, packs=True), manifest_of({}))
    document = json.loads(comparison.to_json())
    assert document["growth"]["compressed"] is document["structure_growth"] is document["files"][0]["growth"]["compressed"] is None


def test_the_json_is_the_same_whatever_the_hash_seed() -> None:
    code = """if 1:
    from test_compare import manifest_of
    from hatch_mlbundle.compare import compare
    before = {f"p{n % 7}/x{n}.py": b"%d" % (n % 5) for n in range(200)}
    after = {f"q{n % 7}/x{n}.py": b"%d" % (n % 5) for n in range(50, 250)}
    import hashlib
    print(hashlib.sha256(compare(manifest_of(before), manifest_of(after)).to_json().encode()).hexdigest())
    """
    paths = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])  # noqa: PTH120
    environments = [{**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": str(seed)} for seed in (1, 2)]
    run = [subprocess.run([sys.executable, "-c", code], env=each, capture_output=True, check=True, timeout=60) for each in environments]
    assert run[0].stdout == run[1].stdout != b""


def large(moved: int) -> Manifest:
    files = {}
    for number in range(20_000):
        folder = "_internal/" if number >= moved else "other/"
        files[f"{folder}p{number % 90}/s{number % 1100}/m{number}.py"] = b"%d" % (number - number % 3)
    return manifest_of(files)


def test_twenty_thousand_files_take_a_fraction_of_a_second() -> None:
    before, after = large(0), large(5_000)
    start = time.process_time()
    comparison = compare(before, after)
    assert time.process_time() - start < 1  # a quarter of it where nothing else runs
    assert len(comparison.files) == 5_000
    assert {change.status for change in comparison.files} == {"moved"}


def test_very_many_copies_do_not_take_the_square_of_the_time() -> None:
    before, after = (manifest_of({f"{folder}/{number}.py": b"same" for number in range(5_000)}) for folder in ("p/a", "p/b"))
    start = time.process_time()
    comparison = compare(before, after)
    assert time.process_time() - start < 1
    assert all(change.status == "moved" for change in comparison.files)


def test_a_path_without_release_is_itself() -> None:
    for path in ("a/b/c.py", "model.safetensors", "", "x" * 300, "a\nb/\udcff"):
        assert release_free(path) == path
