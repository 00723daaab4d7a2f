from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hatch_mlbundle.errors import ArtifactError, StorageError
from hatch_mlbundle.model import DiskContent
from hatch_mlbundle.workspace import Workspace, temporary_workspace
from tests.builders import file_of


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    root.mkdir()
    return Workspace(root)


@dataclass
class DamagedOnce:
    """A Content that breaks off in the middle the first time it is read."""

    data: bytes
    readings: int = 0

    def chunks(self) -> Iterator[bytes]:
        self.readings += 1
        yield self.data[:3]
        if self.readings == 1:
            raise ArtifactError("a.whl", "is damaged")
        yield self.data[3:]

    def local_path(self) -> Path | None:
        return None


@dataclass
class Full:
    """A Content whose reading finds the disk full."""

    number: int

    def chunks(self) -> Iterator[bytes]:
        raise OSError(self.number, os.strerror(self.number))

    def local_path(self) -> Path | None:
        return None


def test_the_tree_is_laid_out_as_the_bundle_is(workspace: Workspace) -> None:
    path = workspace.local(file_of("pkg/lib/a.so", b"data"))
    assert path == workspace.tree / "pkg/lib/a.so"
    assert path.read_bytes() == b"data"


def test_bytes_on_disk_are_not_copied(workspace: Workspace, tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_bytes(b"data")
    path = workspace.local(replace(file_of("a", b"data"), content=DiskContent(original)))
    assert path.samefile(original)


def test_a_file_is_executable_if_it_was(workspace: Workspace) -> None:
    path = workspace.local(replace(file_of("run", b"#!"), mode=0o555))
    assert path.stat().st_mode & 0o111 == 0o111


def test_a_changed_file_takes_the_place_of_the_old(workspace: Workspace) -> None:
    workspace.local(file_of("a", b"old"))
    assert workspace.local(file_of("a", b"new")).read_bytes() == b"new"
    assert workspace.local(file_of("a", b"old")).read_bytes() == b"old"


def test_a_file_is_written_once(workspace: Workspace) -> None:
    first = workspace.local(file_of("a", b"data")).stat().st_ino
    assert workspace.local(file_of("a", b"data")).stat().st_ino == first


def test_a_link_stands_as_a_link(workspace: Workspace) -> None:
    workspace.local(file_of("lib/a.so.1", b"data"))
    path = workspace.local(file_of("lib/a.so", b"", link="a.so.1"))
    assert (os.readlink(path), path.read_bytes()) == ("a.so.1", b"data")  # noqa: PTH115 - as written


def test_a_link_to_something_else_takes_the_place_of_the_old(workspace: Workspace) -> None:
    workspace.local(file_of("a", b"", link="old"))
    assert os.readlink(workspace.local(file_of("a", b"", link="new"))) == "new"  # noqa: PTH115 - as written


def test_many_threads_may_ask_for_one_file(workspace: Workspace) -> None:
    file = file_of("a/b/c", bytes(1 << 20))
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: workspace.local(file).stat().st_size, range(64)))
    assert set(sizes) == {1 << 20}


def test_a_file_that_broke_off_is_not_taken_for_whole(workspace: Workspace) -> None:
    file = replace(file_of("a", b"whole data"), content=DamagedOnce(b"whole data"))
    with pytest.raises(ArtifactError):
        workspace.local(file)
    assert workspace.local(file).read_bytes() == b"whole data"


def test_a_full_disk_is_one_line(workspace: Workspace) -> None:
    with pytest.raises(StorageError, match="disk full"):
        workspace.local(replace(file_of("a", b"data"), content=Full(errno.ENOSPC)))
    with pytest.raises(ConnectionError):
        workspace.local(replace(file_of("a", b"data"), content=Full(errno.ECONNREFUSED)))


def test_new_folders_are_new(workspace: Workspace) -> None:
    first, second = workspace.new_folder(), workspace.new_folder()
    assert first != second
    assert list(first.iterdir()) == []


def test_it_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_workspace() as workspace:
        workspace.local(file_of("a/b", b"data"))
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []

    def fail() -> None:
        with temporary_workspace() as broken:
            broken.new_folder()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_long_ago_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, young, other = (tmp_path / name for name in ("mlbundle-workspace-old", "mlbundle-workspace-new", "mlbundle-original"))
    for folder in (old, young, other):
        (folder / "tree").mkdir(parents=True)
    for path in (old / "tree", old, other / "tree", other):
        os.utime(path, (0, 0))
    with temporary_workspace():
        assert sorted(path.name for path in tmp_path.iterdir() if path in (old, young, other)) == ["mlbundle-original", young.name]
