from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.bundles import atomic_folder
from hatch_mlbundle.bundles.atomic_folder import recover, remove_folder, replace_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask whether a process lives without ending it")


def finished_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def folder(place: Path, name: str, content: str = "") -> Path:
    path = place / name
    (path / "inner").mkdir(parents=True)
    (path / "inner/file").write_text(content)
    return path


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_new_folder_comes_whole(tmp_path: Path) -> None:
    target = tmp_path / "new/parents/a"
    with replace_folder(target) as partial:
        folder(partial.parent, partial.name)
        assert not target.exists()
    assert (target / "inner/file").exists()
    assert names(target.parent) == ["a"]


def test_an_old_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = folder(tmp_path, "a", "old")
    with replace_folder(target) as partial:
        folder(partial.parent, partial.name, "new")
        assert (target / "inner/file").read_text() == "old"
    assert (target / "inner/file").read_text() == "new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("swap", [atomic_folder._put_in_place, atomic_folder._rename_both])
def test_two_folders_change_places(tmp_path: Path, swap: object) -> None:
    assert callable(swap)
    new, target, former = folder(tmp_path, "new", "new"), folder(tmp_path, "a", "old"), tmp_path / "former"
    swap(new, target, former)
    assert (target / "inner/file").read_text() == "new"
    (other,) = {*names(tmp_path)} - {"a"}
    assert (tmp_path / other / "inner/file").read_text() == "old"


def test_two_renames_of_which_the_second_fails_are_none(tmp_path: Path) -> None:
    target = folder(tmp_path, "a", "old")
    with pytest.raises(FileNotFoundError):
        atomic_folder._rename_both(tmp_path / "absent", target, tmp_path / "former")
    assert (target / "inner/file").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_linux_exchanges_two_folders_in_one_step(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "one", "1"), folder(tmp_path, "\udcff", "2")
    assert atomic_folder._exchange(one, other)
    assert [(path / "inner/file").read_text() for path in (one, other)] == ["2", "1"]
    assert not atomic_folder._exchange(one, tmp_path / "absent")


def test_what_dead_processes_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    target = folder(tmp_path, "a")
    dead = finished_pid()
    alive = [f".a.{os.getppid()}.mlbundle-{what}" for what in ("former", "partial")]
    others = [f".b.{dead}.mlbundle-partial", ".a.mlbundle-partial", f".a.{dead}.mlbundle-other"]
    for name in (f".a.{dead}.mlbundle-partial", f".a.{dead}.mlbundle-former", f".a.{os.getpid()}.mlbundle-partial", *alive, *others):
        folder(tmp_path, name)
    with replace_folder(target) as partial:
        partial.mkdir()
    assert names(tmp_path) == sorted(["a", *alive, *others])


def test_what_is_missing_comes_back_as_it_was_last(tmp_path: Path) -> None:
    for content, pid in (("older", finished_pid()), ("newer", os.getpid())):
        folder(tmp_path, f"made-{content}", content).rename(tmp_path / f".a.{pid}.mlbundle-former")
        time.sleep(0.05)
    recover(tmp_path / "a")
    assert (tmp_path / "a/inner/file").read_text() == "newer"
    recover(tmp_path / "a")
    assert (tmp_path / "a/inner/file").read_text() == "newer"


@pytest.mark.parametrize("name", ["absent", "absent/a"])
def test_where_nothing_was_left_nothing_comes_back(tmp_path: Path, name: str) -> None:
    folder(tmp_path, f".absent.{os.getppid()}.mlbundle-former")
    recover(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_what_a_living_process_moved_aside_is_its_own(tmp_path: Path) -> None:
    folder(tmp_path, f".a.{os.getppid()}.mlbundle-former")
    recover(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_read_only_folders_are_removed_and_links_not_followed(tmp_path: Path) -> None:
    """Only a plain user proves the first half: root may remove anything."""
    tree, outside = folder(tmp_path, "tree"), folder(tmp_path, "outside")
    outside.chmod(0o555)
    (tree / "inner/link").symlink_to(outside)
    (tree / "loop").symlink_to(".")
    for path in (tree / "inner", tree):
        path.chmod(0o555)
    remove_folder(tree)
    assert not tree.exists()
    assert (outside / "inner/file").exists()
    assert outside.stat().st_mode & 0o777 == 0o555
    (tmp_path / "link").symlink_to(outside)
    remove_folder(tmp_path / "link")
    assert (outside / "inner/file").exists()
    assert outside.stat().st_mode & 0o777 == 0o555
    outside.chmod(0o755)


def test_a_read_only_folder_is_replaced_and_leaves_nothing(tmp_path: Path) -> None:
    target = folder(tmp_path, "a")
    for path in (target / "inner", target):
        path.chmod(0o555)
    with replace_folder(target) as partial:
        folder(partial.parent, partial.name)
    assert names(tmp_path) == ["a"]
