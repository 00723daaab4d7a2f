from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hatch_mlbundle.cache import ABANDONED, Cache, Entry, default_folder, link_or_copy
from hatch_mlbundle.canonical import digest

KEY = digest("key")
OTHER = digest("other")

needs_a_plain_user = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")

KILLED_IN_PUT = """
import os, signal, sys, threading
from pathlib import Path
from hatch_mlbundle.cache import Cache
from hatch_mlbundle.canonical import digest

class DiesWhenListed(dict):
    def items(self):
        for name, path in super().items():
            yield name, path
            os.kill(os.getpid(), signal.SIGKILL)

root = Path(sys.argv[1])
Cache(root / "cache", 10**9).put(digest("key"), 1, DiesWhenListed(one=root / "one", two=root / "two"))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10**9)


def made(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def found(cache: Cache, key: str = KEY) -> Entry:
    entry = cache.get(key)
    assert entry is not None
    return entry


def place_of(cache: Cache, key: str = KEY) -> Path:
    (place,) = (path for path in cache.folder.glob("*/*") if path.parent.name + path.name == key)
    return place


def test_what_was_put_is_found(cache: Cache, tmp_path: Path) -> None:
    value = {"a": [1, None, "\u00fc\udcff"], "b": {"c": True}}
    cache.put(KEY, value, {"result": made(tmp_path, "made", b"data"), "companion-0": made(tmp_path, "empty", b"")})
    entry = found(cache)
    assert entry.value == value
    assert {name: path.read_bytes() for name, path in entry.files.items()} == {"result": b"data", "companion-0": b""}


def test_what_was_not_put_is_not_found(cache: Cache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, 1)
    assert cache.get(OTHER) is None


def test_the_first_result_stays(cache: Cache) -> None:
    cache.put(KEY, "first")
    cache.put(KEY, "second")
    assert found(cache).value == "first"
    assert list(cache.folder.glob(".*")) == []


def test_files_are_shared_by_hard_link(cache: Cache, tmp_path: Path) -> None:
    source = made(tmp_path, "made", b"data")
    cache.put(KEY, 1, {"result": source})
    assert found(cache).files["result"].samefile(source)


def test_an_entry_outlives_what_it_was_made_from(cache: Cache, tmp_path: Path) -> None:
    source = made(tmp_path, "made", b"data")
    cache.put(KEY, 1, {"result": source})
    source.unlink()
    assert found(cache).files["result"].read_bytes() == b"data"


def test_where_no_link_can_be_made_there_is_a_copy(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    target = shm / f"mlbundle-test-{os.getpid()}"
    try:
        link_or_copy(made(tmp_path, "made", b"data"), target)
        assert target.read_bytes() == b"data"
    finally:
        target.unlink(missing_ok=True)


def test_a_second_name_that_is_taken_is_not_written_through(tmp_path: Path) -> None:
    taken = made(tmp_path, "taken", b"precious")
    os.link(taken, tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        link_or_copy(made(tmp_path, "made", b"data"), tmp_path / "elsewhere")
    assert taken.read_bytes() == b"precious"


def test_a_file_that_is_not_there_has_no_second_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "absent", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def rewrite_consistently(path: Path) -> None:
    path.write_text('{"body": {"value": 2, "files": {}}, "checksum": "0"}')


def write_other_json(path: Path) -> None:
    path.write_text("[3]")


@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])
@pytest.mark.parametrize("name", ["entry.json", "result"])
def test_a_damaged_entry_is_missing_and_can_be_made_anew(cache: Cache, tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    cache.put(KEY, "old", {"result": made(tmp_path, "old", b"old data")})
    damage(place_of(cache) / name)
    assert cache.get(KEY) is None
    cache.put(KEY, "new", {"result": made(tmp_path, "new", b"new data")})
    assert (found(cache).value, found(cache).files["result"].read_bytes()) == ("new", b"new data")


@pytest.mark.parametrize("damage", [rewrite_consistently, write_other_json])
def test_json_that_is_not_ours_is_damage(cache: Cache, damage: Callable[[Path], None]) -> None:
    cache.put(KEY, 1)
    damage(place_of(cache) / "entry.json")
    assert cache.get(KEY) is None
    assert cache.usage().entries == 0


def put_often(root: Path, number: int) -> None:
    cache = Cache(root / "cache", 10**9)
    source = root / f"made-{number}"
    for key in map(digest, range(20)):
        source.write_bytes(b"the same data for all" * 1000)
        cache.put(key, {"same": True}, {"result": source})
        source.unlink()
        entry = cache.get(key)
        assert entry is not None
        assert entry.files["result"].stat().st_size == 21_000


def test_processes_may_put_the_same_at_once(tmp_path: Path, cache: Cache) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=put_often, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert cache.usage().entries == 20
    assert list(cache.folder.glob(".*")) == []
    assert all(found(cache, digest(number)).value == {"same": True} for number in range(20))


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_build_killed_while_it_puts_leaves_no_entry(tmp_path: Path, cache: Cache) -> None:
    for name in ("one", "two"):
        made(tmp_path, name, b"data")
    ran = subprocess.run([sys.executable, "-c", KILLED_IN_PUT, tmp_path], check=False)
    assert ran.returncode == -signal.SIGKILL
    (partial,) = cache.folder.glob(".partial-*")
    assert [path.name for path in partial.iterdir()] == ["one"]
    assert cache.get(KEY) is None
    assert cache.usage().entries == 0
    cache.put(KEY, 2)
    assert found(cache).value == 2


def test_what_killed_builds_left_is_swept_when_it_is_old(cache: Cache) -> None:
    cache.put(KEY, 1)
    old, young = (cache.folder / f".partial-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        made(folder, "result", b"data")
    long_ago = time.time() - ABANDONED - 60
    os.utime(old, (long_ago, long_ago))
    cache.prune()
    assert (old.exists(), young.exists()) == (False, True)
    assert found(cache).value == 1


def fill(cache: Cache, tmp_path: Path, ages: dict[str, int]) -> None:
    for name, age in ages.items():
        cache.put(digest(name), name, {"result": made(tmp_path, name, bytes(10_000))})
        used = time.time() - age
        os.utime(place_of(cache, digest(name)) / "entry.json", (used, used))


def test_what_was_used_least_recently_goes_first(cache: Cache, tmp_path: Path) -> None:
    fill(cache, tmp_path, {"a": 30, "b": 50, "c": 10, "d": 40})
    removed = cache.prune(max_size=25_000)
    assert [name for name in "abcd" if cache.get(digest(name))] == ["a", "c"]
    assert 20_000 < removed < 21_000
    assert cache.usage().size <= 25_000


def test_a_look_is_a_use(cache: Cache, tmp_path: Path) -> None:
    fill(cache, tmp_path, {"a": 30, "b": 20, "c": 10})
    found(cache, digest("a"))
    cache.prune(max_size=15_000)
    assert [name for name in "abc" if cache.get(digest(name))] == ["a"]


def test_the_bound_is_the_configured_one(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 15_000)
    fill(cache, tmp_path, {"a": 20, "b": 10})
    cache.prune()
    assert [name for name in "ab" if cache.get(digest(name))] == ["b"]


def test_what_fits_stays_and_nothing_fits_into_nothing(cache: Cache, tmp_path: Path) -> None:
    fill(cache, tmp_path, {"a": 20, "b": 10})
    assert cache.prune() == 0
    assert cache.usage().entries == 2
    cache.prune(max_size=0)
    assert (cache.usage().entries, cache.usage().size) == (0, 0)


def test_a_cache_that_is_not_there_is_empty(cache: Cache) -> None:
    assert (cache.usage().entries, cache.prune()) == (0, 0)
    assert cache.usage().folder == cache.folder.parent


def test_a_folder_that_cannot_be_one_is_no_fault(tmp_path: Path) -> None:
    cache = Cache(made(tmp_path, "file", b""), 10**9)
    cache.put(KEY, 1)
    assert (cache.get(KEY), cache.usage().entries, cache.prune()) == (None, 0, 0)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="Linux's /proc takes no new folders, not even from root")
def test_a_file_system_that_takes_nothing_is_no_fault() -> None:
    cache = Cache(Path("/proc/self/mlbundle"), 10**9)
    cache.put(KEY, 1)
    assert cache.get(KEY) is None


@needs_a_plain_user
def test_a_folder_that_must_not_be_written_is_no_fault_and_still_read(cache: Cache) -> None:
    cache.put(KEY, 1)
    folders = [cache.folder, *(path for path in cache.folder.rglob("*") if path.is_dir())]
    try:
        for folder in folders:
            folder.chmod(0o555)
        cache.put(OTHER, 2)
        assert (cache.get(OTHER), found(cache).value) == (None, 1)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_missing_source_is_no_entry(cache: Cache, tmp_path: Path) -> None:
    cache.put(KEY, 1, {"result": tmp_path / "absent"})
    assert cache.get(KEY) is None
    assert list(cache.folder.glob(".*")) == []


def test_the_variable_moves_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLBUNDLE_CACHE_DIR", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.setenv("MLBUNDLE_CACHE_DIR", "")
    assert default_folder().name == "mlbundle"
