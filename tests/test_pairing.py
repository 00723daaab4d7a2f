from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hatch_mlbundle.compare import Comparison, compare
from tests.manifests import manifest_of


def told(comparison: Comparison) -> list[tuple[str, str, str | None]]:
    return sorted((change.status, change.path, change.former) for change in comparison.files)


def differences(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[tuple[str, str, str | None]]:
    return told(compare(manifest_of(before), manifest_of(after)))


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
    before = {"lib/libfoo.so.1": b"first" * 60}
    after = {"lib/libfoo.so.2": b"second", "else/libfoo.so.1": b"first" * 60}
    assert differences(before, after) == [("added", "lib/libfoo.so.2", None), ("moved", "else/libfoo.so.1", "lib/libfoo.so.1")]


def test_a_link_is_not_taken_for_the_library_of_another_release() -> None:
    before = manifest_of({"lib/libfoo.so.1": b"library"})
    after = manifest_of({"lib/libfoo.so": b"", "lib/libfoo.so.2": b"library, newer"})
    link, library = after.files
    after = replace(after, files=(replace(link, kind="link"), library))
    assert told(compare(before, after)) == [("added", "lib/libfoo.so", None), ("moved", "lib/libfoo.so.2", "lib/libfoo.so.1")]


def test_empty_files_never_pair_by_content() -> None:
    assert differences({"a/x": b""}, {"b/y": b""}) == [("added", "b/y", None), ("removed", "a/x", None)]


def test_one_line_in_a_package_and_the_same_in_another_did_not_move() -> None:
    line = b"__all__: list[str] = []\n"
    assert differences({"torch/_refs/__init__.py": line}, {"numpy/random/_x.pyi": line}) == [
        ("added", "numpy/random/_x.pyi", None),
        ("removed", "torch/_refs/__init__.py", None),
    ]
    assert differences({"a-1.dist-info/WHEEL": line}, {"b-1.dist-info/WHEEL": line})[0][0] == "added"
    assert differences({"one/x.pyi": line}, {"one/sub/y.py": line}) == [("moved", "one/sub/y.py", "one/x.pyi")]
    assert differences({"one/x.bin": line * 20}, {"two/y.bin": line * 20}) == [("moved", "two/y.bin", "one/x.bin")]


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


def test_very_many_copies_do_not_take_the_square_of_the_time() -> None:
    before, after = (manifest_of({f"{folder}/{number}.py": b"same" for number in range(5_000)}) for folder in ("p/a", "p/b"))
    start = time.process_time()
    comparison = compare(before, after)
    assert time.process_time() - start < 1
    assert all(change.status == "moved" for change in comparison.files)
