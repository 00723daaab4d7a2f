from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.load import Loaded, Loader, LoadStatus
from tests.elfsmith import build_elf, compile_elf, patched_parts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="loads ELF libraries")

CONSTRUCTOR = "__attribute__((constructor)) static void start(void)"
HEADERS = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include <signal.h>\n"


def library(folder: Path, body: str, *flags: str, name: str = "libx.so") -> Path:
    return compile_elf(folder / name, *flags, source=f"{HEADERS}{CONSTRUCTOR} {{ {body} }}\n")


@pytest.fixture
def loader():  # type: ignore[no-untyped-def]
    with Loader(seconds=20) as loader:
        yield loader


def running(text: str) -> list[str]:
    """Return the command lines of living processes that contain the text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes() and ") Z " not in (folder / "stat").read_text():
                found.append(folder.name)
        except OSError:
            continue
    return found


def wait_until(condition, seconds: float = 10) -> bool:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_good_library_loads(loader: Loader, tmp_path: Path) -> None:
    assert loader.loads(compile_elf(tmp_path / "libx.so")) == Loaded(LoadStatus.LOADS)


def test_a_damaged_one_does_not_and_the_linker_says_why(loader: Loader, tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so")
    data = bytearray(path.read_bytes())
    data[54] += 1  # the size of a program header
    path.write_bytes(data)
    outcome = loader.loads(path)
    assert outcome.status is LoadStatus.DOES_NOT_LOAD
    assert "libx.so" in outcome.detail


def test_a_missing_symbol_is_bound_lazily(loader: Loader, tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so", "-Wl,-z,lazy", source="int nowhere(void); int call(void) { return nowhere(); }")
    outcome = loader.loads(path)
    assert (outcome.status, outcome.lazily) == (LoadStatus.LOADS, True)
    assert "nowhere" in outcome.detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("*(volatile int *)0 = 1;", "signal 11"),
        ("abort();", "signal 6"),
        ("raise(SIGKILL);", "signal 9"),
        ("exit(0);", "ended the process with status 0"),
        ("_exit(5);", "ended the process with status 5"),
    ],
)
def test_a_crash_is_told_and_hurts_nobody(loader: Loader, tmp_path: Path, body: str, detail: str) -> None:
    bad, good = library(tmp_path, body), library(tmp_path, "", name="libgood.so")
    for _ in range(2):
        outcome = loader.loads(bad)
        assert outcome.status is LoadStatus.CRASHES
        assert detail in outcome.detail
        assert loader.loads(good).status is LoadStatus.LOADS


def test_a_library_that_kills_its_parent_is_survived(loader: Loader, tmp_path: Path) -> None:
    assert loader.loads(library(tmp_path, "kill(getppid(), SIGKILL); sleep(30);")).status is LoadStatus.CRASHES
    assert loader.loads(library(tmp_path, "", name="libgood.so")).status is LoadStatus.LOADS


def test_a_hang_ends_in_time_and_only_itself(tmp_path: Path) -> None:
    with Loader(seconds=0.5) as loader:
        start = time.monotonic()
        outcome = loader.loads(library(tmp_path, "for (;;) pause();"))
        assert outcome == Loaded(LoadStatus.CRASHES, "it did not load within 0.5 seconds")
        assert time.monotonic() - start < 10
        assert loader.loads(library(tmp_path, "", name="libgood.so")).status is LoadStatus.LOADS


def test_a_process_that_a_library_starts_ends_with_it(tmp_path: Path) -> None:
    with Loader(seconds=20) as loader:
        assert loader.loads(library(tmp_path, 'if (fork() == 0) execlp("sleep", "sleep", "4711.25", NULL);')).status is LoadStatus.LOADS
        assert wait_until(lambda: not running("4711.25"))


def test_a_crash_is_told_at_once_though_a_fork_lives_on(loader: Loader, tmp_path: Path) -> None:
    start = time.monotonic()
    assert loader.loads(library(tmp_path, "if (fork() == 0) pause(); _exit(3);")).status is LoadStatus.CRASHES
    assert time.monotonic() - start < 10


def test_what_it_prints_goes_nowhere(loader: Loader, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = library(tmp_path, 'puts("now \\n\\n"); fflush(stdout); fputs("error", stderr); char c; if (read(0, &c, 1) > 0) abort();')
    assert loader.loads(path) == Loaded(LoadStatus.LOADS)
    assert capfd.readouterr() == ("", "")


def test_it_sees_no_secrets(loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = library(tmp_path, 'if (getenv("SECRET_TOKEN")) abort();')
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    assert loader.loads(path).status is LoadStatus.LOADS


def test_odd_paths(loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b\nc é"
    folder.mkdir()
    compile_elf(tmp_path / "libx.so").rename(folder / "lib x.so")
    assert loader.loads(folder / "lib x.so").status is LoadStatus.LOADS
    monkeypatch.chdir(folder)
    assert loader.loads(Path("lib x.so")).status is LoadStatus.LOADS


@pytest.mark.parametrize("data", [b"MZ" + bytes(100), b"", b"\xcf\xfa\xed\xfe" + bytes(60)])
def test_other_formats_are_not_for_this_host(loader: Loader, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert loader.loads(tmp_path / "x").status is LoadStatus.NOT_FOR_THIS_HOST


def test_other_machines_are_not_for_this_host(loader: Loader, tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts(), order=">", machine=22)
    assert loader.loads(path).status is LoadStatus.NOT_FOR_THIS_HOST


def test_two_threads_load_at_once(tmp_path: Path) -> None:
    path = library(tmp_path, "usleep(700000);")
    with Loader(seconds=20) as loader:
        outcomes: list[Loaded] = []
        threads = [threading.Thread(target=lambda: outcomes.append(loader.loads(path))) for _ in range(3)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == [Loaded(LoadStatus.LOADS)] * 3
    assert time.monotonic() - start < 3 * 0.7


def test_one_is_loaded_after_the_other_where_that_is_wanted(tmp_path: Path) -> None:
    held = tmp_path / "held"
    path = library(tmp_path, f'int mkdir(const char *, int); if (mkdir("{held}", 0700)) abort(); usleep(200000); rmdir("{held}");')
    with Loader(seconds=20, at_once=1) as loader, ThreadPoolExecutor(3) as pool:
        assert [each.status for each in pool.map(loader.loads, [path] * 3)] == [LoadStatus.LOADS] * 3


def test_one_process_serves_many_loads(loader: Loader, tmp_path: Path) -> None:
    path = compile_elf(tmp_path / "libx.so")
    loader.loads(path)
    start = time.monotonic()
    assert all(loader.loads(path).status is LoadStatus.LOADS for _ in range(50))
    assert time.monotonic() - start < 5
    assert len(loader._all) == 1


OWNER = """
import sys, time
from pathlib import Path
from hatch_mlbundle.binaries.load import Loader
loader = Loader(seconds=60)
print(loader.loads(Path(sys.argv[1])).status.value, flush=True)
print(loader._all[0]._process.pid, flush=True)
if len(sys.argv) > 2:
    loader.loads(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("way", ["exit", "killed", "killed while loading"])
def test_nothing_is_left_when_the_owner_is_gone(tmp_path: Path, way: str) -> None:
    good = library(tmp_path, "", name="libgood.so")
    slow = library(tmp_path, 'if (fork() == 0) execlp("sleep", "sleep", "4712.5", NULL); pause();')
    arguments = [sys.executable, "-c", OWNER, str(good), *([str(slow)] if way == "killed while loading" else [])]
    code = OWNER if way != "killed" else f"{OWNER}\ntime.sleep(60)"
    arguments[2] = code
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    owner = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "loads\n"
    server = Path("/proc") / owner.stdout.readline().strip()
    if way == "killed while loading":
        assert wait_until(lambda: running("4712.5"))
    if way != "exit":
        owner.kill()
    owner.wait(timeout=30)
    owner.stdout.close()
    assert wait_until(lambda: not server.exists())
    assert wait_until(lambda: not running("4712.5"))
