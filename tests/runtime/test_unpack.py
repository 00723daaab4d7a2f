from __future__ import annotations

import builtins
import hashlib
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hatch_mlbundle.models.weight_packing import BLOCK, pack_file, signpost
from hatch_mlbundle.runtime.planes import HEAD_SIZE, LAYOUT, LENGTH, PLANE, Head, write_head
from hatch_mlbundle.runtime.unpack import main, unpack, unpacked

DATA = np.random.default_rng(2).standard_normal(BLOCK // 2).astype("<f4").tobytes() + b"end"
ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="about users, links and signals")


def model(folder: Path, data: bytes = DATA, name: str = "model.safetensors") -> Path:
    """Leave a packed file and its signpost in a folder, as the optimizer does; return the packed file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    original = folder / name
    original.write_bytes(data)
    packed = folder / f"{name}.mlpack"
    pack_file(original, packed)
    original.write_bytes(signpost(name))
    packed.chmod(0o640)
    return packed


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle.runtime.unpack", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, **options)  # type: ignore[call-overload,no-any-return]


def block(width: int, turned: int, phase: int, planes: list[tuple[int, bytes]], loose: bytes = b"") -> bytes:
    head = LAYOUT.pack(width, turned, phase) + b"".join(PLANE.pack(coding, len(data)) for coding, data in planes)
    body = head + loose + b"".join(data for _, data in planes)
    return LENGTH.pack(len(body)) + body


def file_of(data: bytes, *blocks: bytes, size: int | None = None, each: int = 1 << 16) -> bytes:
    return write_head(Head(each, len(data) if size is None else size, hashlib.sha256(data).digest())) + b"".join(blocks)


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def test_the_original_is_back_with_its_permissions_and_nothing_else(tmp_path: Path) -> None:
    packed = model(tmp_path)
    assert unpack(packed) == (str(tmp_path / "model.safetensors"),)
    assert names(tmp_path) == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").read_bytes() == DATA
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o640


def test_all_below_a_folder_and_once_more(tmp_path: Path) -> None:
    for folder in ("a/b", "c"):
        model(tmp_path / folder)
    originals = tuple(str(tmp_path / folder / "model.safetensors") for folder in ("a/b", "c"))
    assert unpack(tmp_path) == originals
    assert unpack(tmp_path) == ()


def test_packed_files_may_be_kept_and_the_original_is_known_again(tmp_path: Path) -> None:
    packed = model(tmp_path)
    unpack(packed, keep=True)
    before = (tmp_path / "model.safetensors").stat().st_ino
    unpack(packed, keep=True)
    assert names(tmp_path) == ["model.safetensors", "model.safetensors.mlpack"]
    assert (tmp_path / "model.safetensors").stat().st_ino == before
    unpack(packed)
    assert names(tmp_path) == ["model.safetensors"]


def test_no_signpost_is_needed(tmp_path: Path) -> None:
    packed = model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    unpack(packed)
    assert (tmp_path / "model.safetensors").read_bytes() == DATA


def test_a_file_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    packed = model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(ValueError, match="is there already, and is not what"):
        unpack(packed)
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"
    assert names(tmp_path) == ["model.safetensors", "model.safetensors.mlpack"]


@POSIX
def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(signpost("victim"))
    packed = model(tmp_path / "m")
    for name in ("model.safetensors", ".model.safetensors.mlbundle-unpacking"):
        (tmp_path / "m" / name).unlink(missing_ok=True)
        (tmp_path / "m" / name).symlink_to(victim)
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP: the unfinished file is a link
        unpack(packed)
    (tmp_path / "m" / ".model.safetensors.mlbundle-unpacking").unlink()
    (tmp_path / "m" / ".model.safetensors.mlbundle-unpacking").hardlink_to(victim)
    with pytest.raises(FileExistsError, match="a link or no file"):
        unpack(packed)
    (tmp_path / "m" / ".model.safetensors.mlbundle-unpacking").unlink()
    unpack(packed)
    assert victim.read_bytes() == signpost("victim")
    assert not (tmp_path / "m" / "model.safetensors").is_symlink()


@POSIX
def test_links_and_what_they_lead_to_are_left_alone(tmp_path: Path) -> None:
    packed = model(tmp_path / "outside")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "m.mlpack").symlink_to(packed)
    (tmp_path / "inside" / "folder").symlink_to(tmp_path / "outside")
    assert unpack(tmp_path / "inside") == ()
    assert packed.exists()


WHOLE = file_of(b"ab" * 50, block(2, 0, 0, [(2, b"a"), (0, b"b" * 50)]))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no packed weight file"),
    "another format": (b"PK\3\4" + bytes(100), "no packed weight file"),
    "cut in its head": (WHOLE[:50], "no packed weight file"),
    "another version": (WHOLE[:8] + struct.pack("<I", 2) + WHOLE[12:], "version 2"),
    "a flipped bit in its head": (WHOLE[:20] + bytes([WHOLE[20] ^ 1]) + WHOLE[21:], "head is damaged"),
    "blocks of nothing": (file_of(b"", size=0, each=0), "blocks of 0 bytes"),
    "blocks of 2 GB": (file_of(b"x", each=1 << 31), "blocks of 2147483648 bytes"),
    "2^60 bytes": (file_of(b"x", size=1 << 60, each=1 << 20), "do not unpack to 1152921504606846976"),
    "a bomb of constants": (file_of(b"", block(1, 0, 0, [(2, b"\0")]) * 7000, size=7000 << 20, each=1 << 20), "do not unpack to"),
    "cut": (WHOLE[:-1], "ends too early"),
    "cut between": (WHOLE[:HEAD_SIZE], "ends too early|do not unpack"),
    "cut in a length": (file_of(b"a" * (2 << 16), block(1, 0, 0, [(2, b"a")]) + b"\1\0", size=2 << 16), "ends too early|do not unpack"),
    "a length beyond all": (file_of(b"a" * 90, LENGTH.pack(2**32 - 1) + bytes(90)), "longer than what it stands for"),
    "a length of zero": (file_of(b"a" * 9, LENGTH.pack(0) + bytes(90)), "ends too early"),
    "more than it says": (WHOLE + b"x", "follows its last block"),
    "another hash": (file_of(b"ba" * 50, block(2, 0, 0, [(2, b"a"), (0, b"b" * 50)])), "SHA-256"),
    "a short block": (file_of(b"ab", LENGTH.pack(2) + b"\1\0" + bytes(20)), "cut short"),
    "a width of 3": (file_of(b"abc", block(3, 0, 0, [(0, b"a"), (0, b"b"), (0, b"c")])), "layout"),
    "single bytes turned": (file_of(b"abc", block(1, 1, 0, [(0, b"abc")])), "layout"),
    "a phase beyond its width": (file_of(b"abc", block(2, 0, 2, [(0, b""), (0, b"")], b"abc")), "layout"),
    "a phase beyond its size": (file_of(b"a", block(8, 0, 3, [(0, b"")] * 8, b"a")), "layout"),
    "planes that are not there": (file_of(b"ab", LENGTH.pack(8) + LAYOUT.pack(8, 0, 0) + bytes(20)), "another length than its parts"),
    "parts of other lengths": (file_of(b"abcd", block(2, 0, 0, [(0, b"ac"), (0, b"bd")]) + b"z"), "follows its last block"),
    "a plane too short": (file_of(b"abcd", block(2, 0, 0, [(0, b"a"), (0, b"bd")])), "wrong length"),
    "an unknown coding": (file_of(b"abcd", block(1, 0, 0, [(3, b"abcd")])), "wrong length"),
    "a constant of two bytes": (file_of(b"abcd", block(1, 0, 0, [(2, b"ab")])), "wrong length"),
    "no deflate": (file_of(b"a" * 99, block(1, 0, 0, [(1, b"\xff" * 30)])), "cannot be decompressed"),
    "deflate cut": (file_of(b"ab" * 60, block(1, 0, 0, [(1, deflated(b"ab" * 60)[:-2])])), "wrong length"),
    "deflate with more behind": (file_of(b"ab" * 60, block(1, 0, 0, [(1, deflated(b"ab" * 60) + b"x")])), "wrong length"),
    "deflate too short": (file_of(b"ab" * 60, block(1, 0, 0, [(1, deflated(b"ab" * 59))])), "wrong length"),
    "a bomb of deflate": (file_of(b"ab" * 60, block(1, 0, 0, [(1, deflated(bytes(100_000)))])), "wrong length"),
}


def test_the_whole_of_what_is_spoilt_is_good(tmp_path: Path) -> None:
    (tmp_path / "m.mlpack").write_bytes(WHOLE)
    unpack(tmp_path)
    assert (tmp_path / "m").read_bytes() == b"ab" * 50


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_damaged_or_hostile_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    data, line = HOSTILE[case]
    packed = tmp_path / "m.safetensors.mlpack"
    packed.write_bytes(data)
    (tmp_path / "m.safetensors").write_bytes(signpost("m.safetensors"))
    with pytest.raises(ValueError, match=line) as caught:
        unpack(packed)
    assert str(caught.value).startswith(f"{packed}: ")
    assert "\n" not in str(caught.value)
    assert packed.read_bytes() == data
    assert (tmp_path / "m.safetensors").read_bytes() == signpost("m.safetensors")
    assert names(tmp_path) == ["m.safetensors", "m.safetensors.mlpack"]


def test_each_flipped_bit_is_noticed(tmp_path: Path) -> None:
    packed = model(tmp_path, DATA[:3000])
    whole = packed.read_bytes()
    for place in range(0, len(whole), 7):
        packed.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="mlpack: "):
            unpack(packed)
    assert names(tmp_path) == ["model.safetensors", "model.safetensors.mlpack"]


@pytest.mark.parametrize("name", [".mlpack", "model.safetensors"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    model(tmp_path).rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"ends in \.mlpack"):
        unpack(tmp_path / name)


@POSIX
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mlpack")
    packed = model(tmp_path, name="b")
    (tmp_path / "b").unlink()
    os.mkfifo(tmp_path / "b")
    for path, line in ((tmp_path / "a.mlpack", "no file"), (packed, "is there already")):
        with pytest.raises(ValueError, match=line):
            unpack(path)


def test_the_command(tmp_path: Path) -> None:
    model(tmp_path / "a")
    (tmp_path / "b.mlpack").write_bytes(b"nothing")
    result = run(tmp_path)
    assert (result.returncode, result.stdout) == (1, f"unpacked {tmp_path / 'a' / 'model.safetensors'}\n")
    assert result.stderr == f"mlbundle: {tmp_path / 'b.mlpack'}: it is no packed weight file; get it anew\n"
    (tmp_path / "b.mlpack").unlink()
    assert run(tmp_path, "--keep").returncode == 0
    assert main([str(tmp_path)]) == 0
    missing = run(tmp_path / "nowhere")
    assert (missing.returncode, missing.stderr.splitlines()[-1].endswith("there is no such file or folder")) == (2, True)


def test_numpy_is_not_needed(tmp_path: Path) -> None:
    model(tmp_path)
    code = "import sys; sys.modules['numpy'] = None; from hatch_mlbundle.runtime.unpack import main; sys.exit(main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, cwd=ROOT)
    assert (tmp_path / "model.safetensors").read_bytes() == DATA


def test_unpacked_gives_the_path_however_often_it_is_asked(tmp_path: Path) -> None:
    packed = model(tmp_path)
    for _ in range(2):
        assert unpacked(packed) == str(tmp_path / "model.safetensors")
    assert names(tmp_path) == ["model.safetensors"]
    with pytest.raises(FileNotFoundError):
        unpacked(tmp_path / "other.mlpack")


def test_unpacked_takes_the_name_of_the_original_packed_or_not(tmp_path: Path) -> None:
    packed = model(tmp_path)
    original = tmp_path / "model.safetensors"
    for _ in range(2):
        assert unpacked(original) == str(original)
        assert original.read_bytes() == DATA
    assert not packed.exists()
    original.write_bytes(signpost(original.name))
    with pytest.raises(FileNotFoundError):
        unpacked(original)


@pytest.mark.parametrize("function", [(os, "stat"), (builtins, "open")], ids=lambda function: function[1])
def test_another_process_may_be_faster_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: tuple[Any, str]) -> None:
    packed = model(tmp_path)
    monkeypatch.setattr(*function, after_once(lambda: unpack(packed), getattr(*function)))
    assert unpacked(packed) == str(tmp_path / "model.safetensors")
    assert names(tmp_path) == ["model.safetensors"]


def after_once(event: Callable[[], object], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function before whose first call something else happens."""
    waiting = [event]

    def called(*arguments: Any, **options: Any) -> Any:
        if waiting:
            waiting.pop()()
        return function(*arguments, **options)

    return called


def test_what_is_in_the_way_in_the_cache_is_told_and_nothing_unfinished_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = model(tmp_path / "application")
    monkeypatch.setenv("MLBUNDLE_UNPACKED_DIR", str(tmp_path / "cache"))
    place = Path(unpacked(packed))
    place.write_bytes(b"mine")
    with pytest.raises(ValueError, match="is there already, and is not what"):
        unpacked(packed)
    assert names(place.parent) == [place.name]


ASK = """
import concurrent.futures.thread, os, sys
import numpy
from hatch_mlbundle.runtime.unpack import unpacked
if os.geteuid() == 0:  # who may write everywhere
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = unpacked(sys.argv[1])
print(path, os.path.getsize(path), os.stat(path).st_ino)
"""


def test_a_folder_that_the_environment_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = model(tmp_path / "application")
    monkeypatch.setenv("MLBUNDLE_UNPACKED_DIR", str(tmp_path / "cache"))
    expected = tmp_path / "cache" / hashlib.sha256(DATA).hexdigest() / "model.safetensors"
    for _ in range(2):
        assert unpacked(packed) == str(expected)
        assert expected.read_bytes() == DATA
    assert names(tmp_path / "application") == ["model.safetensors", "model.safetensors.mlpack"]
    packed.write_bytes(packed.read_bytes()[:-1])
    expected.unlink()
    with pytest.raises(ValueError, match="ends too early"):
        unpacked(packed)
    assert names(expected.parent) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cache folder is that of Linux")
def test_a_folder_that_cannot_be_written_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    shared = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    shared.chmod(0o755)
    packed = model(shared / "application")
    packed.chmod(0o644)
    (shared / "cache").mkdir()
    (shared / "cache").chmod(0o777)
    (shared / "application").chmod(0o555)
    try:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # another user cannot write its data
        environment = {**plain, "XDG_CACHE_HOME": str(shared / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        asked = [
            subprocess.run([sys.executable, "-c", ASK, packed], capture_output=True, text=True, env=environment, cwd=ROOT) for _ in range(2)
        ]
        assert [result.stderr for result in asked] == ["", ""]
        assert asked[0].stdout == asked[1].stdout
        path = shared / "cache" / "mlbundle" / "unpacked" / hashlib.sha256(DATA).hexdigest() / "model.safetensors"
        assert asked[0].stdout.startswith(f"{path} {len(DATA)} ")
        assert path.read_bytes() == DATA
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert names(shared / "application") == ["model.safetensors", "model.safetensors.mlpack"]
    finally:
        (shared / "application").chmod(0o755)
        shutil.rmtree(shared)


def test_several_processes_at_once_do_it_once(tmp_path: Path) -> None:
    packed = model(tmp_path, DATA * 20)
    code = "import sys; from hatch_mlbundle.runtime.unpack import unpacked; print(hash(open(unpacked(sys.argv[1]), 'rb').read()))"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", code, packed]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(5)
    ]
    results = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in results] == [""] * 5
    assert len({output for output, _ in results}) == 1
    assert (tmp_path / "model.safetensors").read_bytes() == DATA * 20
    assert names(tmp_path) == ["model.safetensors"]


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


@POSIX
def test_after_a_kill_it_is_started_again(tmp_path: Path) -> None:
    packed = model(tmp_path, DATA * 60)
    before = packed.read_bytes()
    unfinished = tmp_path / ".model.safetensors.mlbundle-unpacking"
    process = subprocess.Popen([sys.executable, "-m", "hatch_mlbundle.runtime.unpack", packed], cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: unfinished.exists() and unfinished.stat().st_size > 0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert unfinished.exists()
    assert packed.read_bytes() == before
    assert (tmp_path / "model.safetensors").read_bytes() == signpost("model.safetensors")
    unpack(packed)
    assert (tmp_path / "model.safetensors").read_bytes() == DATA * 60
    assert names(tmp_path) == ["model.safetensors"]


@POSIX
def test_a_disk_that_is_full_leaves_everything_as_it_was(tmp_path: Path) -> None:
    packed = model(tmp_path)
    before = packed.read_bytes()

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) // 2, len(DATA) // 2))

    result = run(packed, preexec_fn=limited)
    assert result.returncode == 1
    assert result.stderr == f"mlbundle: {packed}: File too large\n"
    assert packed.read_bytes() == before
    assert (tmp_path / "model.safetensors").read_bytes() == signpost("model.safetensors")
    assert names(tmp_path) == ["model.safetensors", "model.safetensors.mlpack"]
