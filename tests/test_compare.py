from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.application import analyze
from hatch_mlbundle.compare import FileChange, GroupChange, Sizes, VersionChange, compare
from hatch_mlbundle.config import read_config
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import FileState, Manifest
from hatch_mlbundle.plugins import load_registry
from tests.bundles.wheelsmith import DIST_INFO, FILE_NAME, FILES, METADATA, build_wheel
from tests.manifests import manifest_of, state_of


def test_every_status_is_told_and_what_is_as_it_was_is_not() -> None:
    before = {"a/same.py": b"same", "a/longer.py": b"1", "a/here.py": b"moves as it is", "a/gone.py": b"gone"}
    after = {"a/same.py": b"same", "a/longer.py": b"22", "a/there.py": b"moves as it is", "a/new.py": b"new"}
    comparison = compare(manifest_of(before), manifest_of(after))
    assert [(change.status, change.path, change.former, change.growth) for change in comparison.files] == [
        ("removed", "a/gone.py", None, -4),
        ("added", "a/new.py", None, 3),
        ("changed", "a/longer.py", None, 1),
        ("moved", "a/there.py", "a/here.py", 0),
    ]
    assert comparison.growth == 0
    assert comparison.unchanged == GroupChange(
        name="unchanged", before=Sizes(installed=4, compressed=None, files=1), after=Sizes(installed=4, compressed=None, files=1)
    )


def test_bytes_of_another_content_and_the_same_size_are_a_change() -> None:
    (change,) = compare(manifest_of({"a": b"1"}), manifest_of({"a": b"2"})).files
    assert (change.status, change.path, change.growth) == ("changed", "a", 0)


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


def test_owners_of_one_name_are_one_group_and_sorted_by_growth() -> None:
    before = manifest_of({"Foo_Bar/x": b"1", "small/x": b"1"})
    after = manifest_of({"foo-bar/x": b"1", "foo.bar/y": b"22", "small/x": b"1", "zebra/x": b"4444", "apple/x": b"5555"})
    assert [(group.name, group.growth, group.after.files) for group in compare(before, after).owners] == [
        ("apple", 4, 1),
        ("zebra", 4, 1),
        ("foo-bar", 2, 2),
        ("small", 0, 1),
    ]


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


def test_every_key_of_the_json_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs/comparing.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    keys = [key.strip(" `") for row in rows for key in row.split(",")]
    assert keys == list(json.loads(compare(manifest_of({}), manifest_of({})).to_json()))


def test_the_json_of_sides_that_do_not_both_compress_has_no_growth_of_it() -> None:
    comparison = compare(manifest_of({"a": b"1"}, packs=True), manifest_of({}))
    document = json.loads(comparison.to_json())
    assert document["growth"]["compressed"] is document["structure_growth"] is document["files"][0]["growth"]["compressed"] is None


def test_a_real_wheel_and_what_it_unpacks_to_are_the_same(tmp_path: Path) -> None:
    first, second, folder = (tmp_path / name for name in ("1", "2", "unpacked"))
    first.mkdir()
    second.mkdir()
    wheel = build_wheel(first)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    bumped = build_wheel(
        second,
        FILES,
        dist_info="demo-1.1.dist-info",
        metadata={**METADATA, "METADATA": METADATA["METADATA"].replace(b"1.0", b"1.1")},
        name=FILE_NAME.replace("1.0", "1.1"),
    )
    registry = load_registry()
    job = prepare(read_config({"cache": {"enabled": False}}, registry.option_types()), registry, project=tmp_path)
    before, unpacked, after = (analyze(job, path) for path in (wheel, folder, bumped))
    assert compare(before, unpacked).same
    assert compare(before, before).same
    for comparison in (compare(before, after), compare(unpacked, after)):
        assert {change.status for change in comparison.files} == {"moved"}
        assert {change.former.partition("/")[0] for change in comparison.files if change.former} == {DIST_INFO}
        assert comparison.versions == (VersionChange(distribution="demo", before="1.0", after="1.1"),)


def test_the_json_is_the_same_whatever_the_hash_seed() -> None:
    code = """if 1:
    from tests.manifests import manifest_of
    from hatch_mlbundle.compare import compare
    before = {f"p{n % 7}/x{n}.py": b"%d" % (n % 5) for n in range(200)}
    after = {f"q{n % 7}/x{n}.py": b"%d" % (n % 5) for n in range(50, 250)}
    import hashlib
    print(hashlib.sha256(compare(manifest_of(before), manifest_of(after)).to_json().encode()).hexdigest())
    """
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
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
