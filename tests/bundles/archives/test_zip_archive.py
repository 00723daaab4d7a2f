from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.archives.tree import read_tree
from hatch_mlbundle.bundles.archives.zip_archive import check_names, write_zip
from hatch_mlbundle.errors import ArtifactError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and permission bits are Unix's")


def packed(root: Path, *, level: int = 6, mtime: int = 1_600_000_000, workers: int = 2, advance: Callable[[int], object] = abs) -> bytes:
    stream = io.BytesIO()
    write_zip(read_tree(root), stream, level=level, mtime=mtime, workers=workers, advance=advance)
    return stream.getvalue()


def test_entries_say_what_they_are(tree: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed(tree))) as archive:
        assert archive.testzip() is None
        entries = {entry.filename.removeprefix(f"{tree.name}/"): entry for entry in archive.infolist()}
        link, folder, program = entries["lib/libx.so"], entries["hollow/inner/"], entries["run"]
        assert (stat.filemode(link.external_attr >> 16), archive.read(link)) == ("lrwxrwxrwx", b"libx.so.1")
        assert (stat.filemode(folder.external_attr >> 16), folder.external_attr & 0xFF, folder.is_dir()) == ("drwxr-xr-x", 0x10, True)
        assert (stat.filemode(program.external_attr >> 16), program.external_attr & 0xFF) == ("-rwxr-xr-x", 0)
        assert archive.read(entries["a hard link"]) == archive.read(entries["with space/another hard link"]) == b"\x00\xff" * 700
    assert {entry.date_time for entry in entries.values()} == {(2020, 9, 13, 12, 26, 40)}


def test_every_byte_is_told_of(tree: Path) -> None:
    told: list[int] = []
    packed(tree, advance=told.append)
    assert sum(told) == sum(len(each.target) if each.target and not each.size else each.size for each in read_tree(tree))


def test_times_before_1980_are_1980(tree: Path) -> None:
    assert packed(tree, mtime=0) == packed(tree, mtime=315532800)


@pytest.mark.parametrize("name", ["back\\slash", "new\nline"])
def test_names_that_readers_change_are_refused(tree: Path, name: str) -> None:
    check_names(read_tree(tree))
    (tree / name).touch()
    with pytest.raises(ArtifactError, match=r"cannot go into a zip archive: its name holds a .*; rename it"):
        check_names(read_tree(tree))


def test_a_file_that_changes_is_noticed(tree: Path) -> None:
    members = read_tree(tree)
    (tree / "run").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match="run: changed while it was being packed"):
        write_zip(members, io.BytesIO(), level=6, mtime=0, workers=1, advance=abs)


@pytest.mark.slow
@pytest.mark.very_slow
@pytest.mark.skipif(not shutil.which("unzip"), reason="needs unzip")
def test_more_files_than_16_bits_count(tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(65_540):
        (root / f"{number:x}").touch()
    (tmp_path / "many.zip").write_bytes(packed(root, level=1))
    subprocess.run(["unzip", "-tqq", tmp_path / "many.zip"], check=True)
    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        assert len(archive.infolist()) == 65_541


@pytest.mark.slow
@pytest.mark.very_slow
@pytest.mark.skipif(not shutil.which("unzip"), reason="needs unzip")
def test_a_file_above_4_gib(tmp_path: Path) -> None:
    root = tmp_path / "large"
    root.mkdir()
    with (root / "file").open("wb") as stream:
        stream.truncate((4 << 30) + 5)
    (tmp_path / "large.zip").write_bytes(packed(root, level=1))
    listed = subprocess.run(["unzip", "-l", tmp_path / "large.zip"], capture_output=True, text=True, check=True)
    assert str((4 << 30) + 5) in listed.stdout
    subprocess.run(["unzip", "-tqq", tmp_path / "large.zip"], check=True)
