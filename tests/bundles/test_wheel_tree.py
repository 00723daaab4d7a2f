"""Packing a tree, and bringing it to what a wheel holds."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.compressor import deflate_compressor
from hatch_mlbundle.bundles.wheel_tree import follow, recorded, tree_files
from hatch_mlbundle.bundles.wheel_writer import pack_wheel
from hatch_mlbundle.errors import ArtifactError

INFO = "pkg-1.dist-info"


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with a script, a module in a folder, and dist-info, which sorts before them."""
    tree = tmp_path / "tree"
    for path, text in {"pkg/sub/a.py": "a = 1\n", "pkg/b.py": "b = 2\n", f"{INFO}/WHEEL": "W", f"{INFO}/METADATA": "M"}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "run").write_text("#!python\n")
    (tree / "run").chmod(0o750)
    (tree / "pkg" / "b.py").chmod(0o600)
    return tree


def packed(tree: Path, pool: Executor, wheel: Path) -> Path:
    with deflate_compressor(level=6, workers=2) as compressor, wheel.open("wb") as stream:
        pack_wheel(tree_files(tree, pool), INFO, stream, compressor=compressor, workers=2)
    return wheel


def test_dist_info_comes_last_record_very_last_and_modes_are_those_of_any_machine(tree: Path, pool: Executor, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed(tree, pool, tmp_path / "a.whl")) as archive:
        modes = {member.filename: oct(member.external_attr >> 16 & 0o777) for member in archive.infolist()}
    assert list(modes) == ["run", "pkg/b.py", "pkg/sub/a.py", f"{INFO}/METADATA", f"{INFO}/WHEEL", f"{INFO}/RECORD"]
    assert set(modes.values()) == {"0o644", "0o755"}
    assert modes["run"] == "0o755"


def test_record_lists_every_file_once_and_itself_without_a_hash(tree: Path, pool: Executor, tmp_path: Path) -> None:
    rows = recorded(packed(tree, pool, tmp_path / "a.whl"))
    assert rows.pop(f"{INFO}/RECORD") == ("", "", None)
    assert {path: size for path, (_, _, size) in rows.items()} == {
        path.relative_to(tree).as_posix(): path.stat().st_size for path in tree.rglob("*") if path.is_file()
    }
    assert {algorithm for algorithm, _, _ in rows.values()} == {"sha256"}


def test_a_link_is_the_file_that_it_leads_to_and_none_leads_to_nothing(tree: Path, pool: Executor, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("outside")
    (tree / "pkg" / "link.txt").symlink_to(tmp_path / "outside.txt")
    (tree / "pkg" / "broken.txt").symlink_to("nowhere")
    with zipfile.ZipFile(packed(tree, pool, tmp_path / "a.whl")) as archive:
        assert archive.read("pkg/link.txt") == b"outside"
        assert "pkg/broken.txt" not in archive.namelist()


def test_a_tree_follows_a_wheel_and_no_other_name_of_its_files_does(tree: Path, pool: Executor, tmp_path: Path) -> None:
    before = packed(tree, pool, tmp_path / "before.whl")
    other = tmp_path / "other.py"
    os.link(tree / "pkg" / "b.py", other)
    smaller = tmp_path / "smaller"
    for path in ("pkg/b.py", f"{INFO}/WHEEL", f"{INFO}/METADATA"):
        (smaller / path).parent.mkdir(parents=True, exist_ok=True)
        (smaller / path).write_text((tree / path).read_text().replace("b = 2", "b=2"))
    (smaller / "run").write_text("#!python\n")
    (smaller / "new").mkdir()
    (smaller / "new" / "c.py").write_text("c = 3\n")
    follow(tree, before, packed(smaller, pool, tmp_path / "after.whl"))
    held = {path.relative_to(tree).as_posix(): path.read_text() for path in tree.rglob("*") if path.is_file()}
    assert held == {path.relative_to(smaller).as_posix(): path.read_text() for path in smaller.rglob("*") if path.is_file()}
    assert not (tree / "pkg" / "sub").exists()
    assert other.read_text() == "b = 2\n"
    assert (tree / "pkg" / "b.py").stat().st_mtime == 0


@pytest.mark.skipif(os.name == "nt", reason="such names cannot be")
@pytest.mark.parametrize("name", [b"a\\b.py", b"\xff.py", b"a\n.py"])
def test_a_name_that_no_wheel_can_have_is_told(tree: Path, pool: Executor, name: bytes) -> None:
    (tree / os.fsdecode(name)).write_text("")
    with pytest.raises(ArtifactError, match="has a file whose name"):
        tree_files(tree, pool)


def test_what_is_no_wheel_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"a\.whl: was built with a RECORD that cannot be read"):
        recorded(tmp_path / "a.whl")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("a.dist-info/licenses/x.dist-info/RECORD", "")
    with pytest.raises(ArtifactError, match=r"b\.whl: was built with 0 files dist-info/RECORD"):
        recorded(tmp_path / "b.whl")
