from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.atomic import make_folder, replace_atomically, storage_errors
from hatch_mlbundle.errors import MlbundleError, StorageError

WRITE_TOO_MUCH = """
import resource, sys
from pathlib import Path
from hatch_mlbundle.atomic import replace_atomically
from hatch_mlbundle.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with replace_atomically(Path(sys.argv[1])) as stream:
        for _ in range(50):
            stream.write(bytes(10_000))
except StorageError as error:
    print(error)
"""


def finished_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.whl"
    target.write_bytes(b"before")
    with replace_atomically(target) as stream:
        stream.write(b"after")
        stream.flush()
        assert target.read_bytes() == b"before"
    assert target.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [target]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.whl"
    seen: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, target.exists())))
    with replace_atomically(target) as stream:
        stream.write(b"after")
    assert seen == [(5, False)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MlbundleError, RuntimeError])
def test_whatever_is_raised_the_file_stays(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.whl"
    target.write_bytes(b"before")

    def fail() -> None:
        with replace_atomically(target) as stream:
            stream.write(b"after")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_permission_bits_are_kept_and_new_ones_honour_the_umask(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    old.chmod(0o750)
    umask = os.umask(0o027)
    try:
        for target in (old, new):
            with replace_atomically(target):
                pass
    finally:
        os.umask(umask)
    assert [path.stat().st_mode & 0o777 for path in (old, new)] == [0o750, 0o640]


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask whether a process lives without ending it")
def test_what_a_killed_build_left_behind_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "a.whl"
    leftover = tmp_path / f".a.whl.{finished_pid()}.mlbundle-partial"
    impossible = tmp_path / ".a.whl.9999999999.mlbundle-partial"
    alive = tmp_path / f".a.whl.{os.getppid()}.mlbundle-partial"
    other = tmp_path / f".b.whl.{finished_pid()}.mlbundle-partial"
    ours = tmp_path / f".a.whl.{os.getpid()}.mlbundle-partial"
    for path in (leftover, impossible, alive, other, ours):
        path.touch()
    with replace_atomically(target):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([target, alive, other])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no resource limits")
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.whl"
    target.write_bytes(b"before")
    ran = subprocess.run([sys.executable, "-c", WRITE_TOO_MUCH, target], capture_output=True, text=True, check=True)
    assert ran.stdout == (f"file size limit reached while writing {target}; free some space, what was there before is untouched\n")
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_a_device_that_is_full() -> None:
    with pytest.raises(StorageError, match=r"^disk full while writing x; free some space"), storage_errors(Path("x")):
        Path("/dev/full").write_bytes(b"data")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_place_that_must_not_be_written(number: int) -> None:
    with pytest.raises(StorageError, match="while writing x; make it writable"), storage_errors(Path("x")):
        raise OSError(number, "refused")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no such folder; create it first"), replace_atomically(tmp_path / "absent" / "a.whl"):
        pass


def test_a_leftover_that_cannot_be_removed_is_passed_over(tmp_path: Path) -> None:
    leftover = tmp_path / f".a.whl.{finished_pid()}.mlbundle-partial"
    leftover.mkdir()
    with replace_atomically(tmp_path / "a.whl"):
        pass
    assert leftover.exists()


def test_a_folder_is_made_with_its_parents_and_may_be_there(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file/a"):
        with pytest.raises(StorageError, match="a file is in its place"):
            make_folder(place)


def test_other_errors_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), replace_atomically(tmp_path / "a"):
        raise ConnectionError
