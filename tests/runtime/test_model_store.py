"""The store: what is in it is right and there once, whoever reads, writes, is killed or runs out of space."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.runtime import place_lock
from hatch_mlbundle.runtime.file_actions import cloned
from hatch_mlbundle.runtime.model_commands import verify
from hatch_mlbundle.runtime.models import places, store
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Model, ModelFile
from hatch_mlbundle.runtime.models.errors import ModelFileError, ModelUnavailableError
from tests.modelsmith import FILES, Server, files_of, model_of, serving, write_descriptor, write_model, wrong_files

ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="about links, signals and limits")
ONNX = {
    "model.onnx": b"graph",
    "model.onnx_data": random.Random(2).randbytes(200_000),
    "twin.onnx_data": random.Random(2).randbytes(200_000),
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv("MLBUNDLE_STORE", str(folder))
    monkeypatch.delenv("MLBUNDLE_OFFLINE", raising=False)
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({f"blip/{path}": data for path, data in FILES.items()}) as served:
        yield served


def of(server: Server, **values: object) -> Model:
    return model_of(sources=(f"{server.address}blip/",), **values)


def local(tmp_path: Path, files: dict[str, bytes], **values: object) -> Model:
    folder = write_model(tmp_path / "sources" / hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest(), files)
    return model_of(files, sources=(f"{folder.as_uri()}/",), **values)


def test_a_model_is_fetched_once_and_then_found(root: Path, server: Server) -> None:
    model = of(server)
    assert store.find(model) is None
    assert not root.exists()
    path = store.obtain(model)
    assert path == root / "ready" / model.digest / "blip"
    assert files_of(path) == FILES
    assert store.obtain(model) == store.find(model) == path
    assert server.asked.total() == len(FILES)
    assert list((root / "partial").iterdir()) == []
    assert not [each for each in path.rglob("*") if each.is_file() and each.stat().st_mode & 0o222]


def test_a_single_file_is_what_is_loaded(tmp_path: Path) -> None:
    path = store.obtain(local(tmp_path, {"yolo.pt": b"weights"}, name="yolo", is_file=True))
    assert (path.name, path.read_bytes()) == ("yolo.pt", b"weights")


def test_versions_share_what_they_have_in_common(tmp_path: Path, root: Path, server: Server) -> None:
    first = store.obtain(of(server))
    newer = {**FILES, "config.json": b'{"v": 2}'}
    server.files["blip/config.json"] = newer["config.json"]
    second = store.obtain(model_of(newer, sources=(f"{server.address}blip/",)))
    assert server.asked == {"blip/config.json": 2, "blip/weights/model.bin": 1, "blip/vocab.txt": 1}
    assert (files_of(first), files_of(second)) == (FILES, newer)
    taken = {(info.st_ino, info.st_blocks) for path in root.rglob("*") if path.is_file() and (info := path.stat())}
    assert sum(blocks * 512 for _, blocks in taken) < 2 * len(FILES["weights/model.bin"])


def test_another_name_for_the_same_files_costs_nothing(server: Server) -> None:
    store.obtain(of(server))
    path = store.obtain(of(server, name="other"))
    assert path.name == "other"
    assert files_of(path) == FILES
    assert server.asked.total() == len(FILES)


@POSIX
def test_files_beside_an_onnx_graph_are_their_own_and_there_once(tmp_path: Path, root: Path) -> None:
    path = store.obtain(local(tmp_path, ONNX))
    assert files_of(path) == ONNX
    assert {os.lstat(each).st_nlink for each in path.iterdir()} == {1}
    assert sum(each.stat().st_size for each in (root / "blobs").iterdir()) == 0 or _clones(root)


@POSIX
def test_an_onnx_model_leaves_what_another_one_links_to(tmp_path: Path) -> None:
    linked = store.obtain(local(tmp_path, {"data": ONNX["model.onnx_data"]}))
    own = store.obtain(local(tmp_path, ONNX, name="graph"))
    shutil.rmtree(tmp_path / "sources")
    (tmp_path / "sources").mkdir()
    again = store.obtain(model_of({"data.2": ONNX["model.onnx_data"]}, name="third"))
    assert files_of(linked) == {"data": ONNX["model.onnx_data"]}
    assert files_of(own) == ONNX
    assert files_of(again) == {"data.2": ONNX["model.onnx_data"]}
    assert {os.lstat(each).st_nlink for each in own.iterdir()} == {1}


@POSIX
def test_what_another_model_has_of_its_own_is_copied_not_fetched(tmp_path: Path) -> None:
    store.obtain(local(tmp_path, ONNX))
    shutil.rmtree(tmp_path / "sources")
    path = store.obtain(model_of({**ONNX}, name="again"))
    assert files_of(path) == ONNX


def test_a_download_is_gone_on_from_where_another_model_has_a_file_of_that_size(tmp_path: Path, root: Path, server: Server) -> None:
    data = FILES["weights/model.bin"]
    store.obtain(local(tmp_path, {"model.onnx": b"graph", "of-that-size": data[::-1]}))
    part = root / "partial" / hashlib.sha256(data).hexdigest()
    part.write_bytes(data[:200_000])
    server.files["blip/weights/model.bin"] = data[:1]
    with pytest.raises(ModelUnavailableError):
        store.obtain(of(server))
    assert part.read_bytes() == data[:200_000]


def _clones(root: Path) -> bool:
    probe = root / "partial" / "probe"
    return cloned(str(next((root / "blobs").iterdir())), str(probe))


def test_onnx_loads_what_lies_in_the_store(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    numpy = pytest.importorskip("numpy")
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(numpy.arange(4096, dtype="f4"), "w")
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4096])], [weights]
    )
    folder = tmp_path / "made"
    folder.mkdir()
    onnx.save_model(helper.make_model(graph), folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    store.obtain(local(tmp_path, {"other": (folder / "m.bin").read_bytes()}, name="sharer"))
    path = store.obtain(local(tmp_path, files_of(folder)))
    assert numpy_helper.to_array(onnx.load(path / "m.onnx").graph.initializer[0]).sum() == 4096 * 4095 / 2


def test_wrong_bytes_never_get_a_name(root: Path, server: Server) -> None:
    server.files["blip/vocab.txt"] = b"x" * len(FILES["vocab.txt"])
    with pytest.raises(ModelUnavailableError):
        store.obtain(of(server))
    assert wrong_files(root) == []
    assert store.find(of(server)) is None
    server.files["blip/vocab.txt"] = FILES["vocab.txt"]
    assert files_of(store.obtain(of(server))) == FILES
    assert server.asked["blip/weights/model.bin"] == 1


def test_no_source_is_told(root: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="no source"):
        store.obtain(model_of())


def test_an_application_that_was_frozen_without_ssl_says_so(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    for name in ("fetching", "fetch", "transports"):
        monkeypatch.delitem(sys.modules, f"hatch_mlbundle.runtime.models.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ssl", None)
    with pytest.raises(ModelUnavailableError, match="nothing can be fetched, for the application was frozen without ssl"):
        store.obtain(of(server))


def test_what_was_taken_out_of_a_model_is_put_back(server: Server) -> None:
    path = store.obtain(of(server))
    (path / "vocab.txt").chmod(0o644)
    (path / "vocab.txt").unlink()
    assert store.find(of(server)) is None
    assert files_of(store.obtain(of(server))) == FILES
    assert server.asked.total() == len(FILES)


@pytest.mark.parametrize("place", ["model", "blob"])
def test_damage_is_found_and_mended(tmp_path: Path, root: Path, server: Server, place: str) -> None:
    model = of(server)
    path = store.obtain(model)
    write_descriptor(tmp_path / "app", model)
    home = places.home_of(str(tmp_path / "app" / FILE_NAME))
    assert verify(model, home) == f"blip: {path} is right, 300,006 bytes"
    damaged = path / "weights/model.bin"
    if place == "blob":
        damaged = root / "blobs" / hashlib.sha256(FILES["weights/model.bin"]).hexdigest()
        data = damaged.read_bytes()
        damaged.unlink()  # as where the model has a clone of it
        damaged.write_bytes(data)
    damaged.chmod(0o644)
    with damaged.open("r+b") as stream:
        stream.write(b"damaged")
    assert verify(model, home) == f"blip: {path} had damaged files (weights/model.bin); they are right again"
    assert wrong_files(root, model) == []
    assert server.asked == {"blip/config.json": 1, "blip/weights/model.bin": 2, "blip/vocab.txt": 1}


def test_damage_that_cannot_be_mended_takes_the_model_away(tmp_path: Path, root: Path, server: Server) -> None:
    model = of(server)
    (store.obtain(model) / "vocab.txt").chmod(0o644)
    (root / "ready" / model.digest / "blip/vocab.txt").write_bytes(b"b\na\n")
    write_descriptor(tmp_path / "app", model)
    server.files.clear()
    result = subprocess.run(command(tmp_path / "app", does="verify"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "had damaged files (vocab.txt)" in result.stderr
    assert store.find(model) is None
    assert wrong_files(root, model) == []


def test_what_is_mended_is_not_taken_for_what_was_left_long_ago(tmp_path: Path, root: Path, server: Server) -> None:
    model = of(server)
    path = store.obtain(model)
    write_descriptor(tmp_path / "app", model)
    (path / "weights/model.bin").chmod(0o644)
    (path / "weights/model.bin").write_bytes(bytes(len(FILES["weights/model.bin"])))
    os.utime(path, (0, 0))
    data = server.files.pop("blip/weights/model.bin")
    with pytest.raises(ModelFileError):
        verify(model, places.home_of(str(tmp_path / "app" / FILE_NAME)))
    store.sweep(str(root))
    server.files["blip/weights/model.bin"] = data
    shutil.rmtree(root / "blobs")
    assert files_of(store.obtain(model)) == FILES
    assert server.asked["blip/vocab.txt"] == 1


def test_a_store_that_cannot_be_used_is_told_with_what_to_do(root: Path, server: Server) -> None:
    (root / "lock").mkdir(parents=True)
    with pytest.raises(
        ModelUnavailableError, match=r"blip: the store .*store cannot be used \(.*lock.*\); set MLBUNDLE_STORE to a folder that can"
    ):
        store.obtain(of(server))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="becomes other users")
def test_users_of_a_group_share_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def obtain(model: Model, user: int) -> int:
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                os.umask(0o002)
                os.setgroups([])
                os.setgid(4711)
                os.setuid(user)
                store.obtain(model)
                code = 0
            os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with tempfile.TemporaryDirectory() as name:  # where others may go, unlike tmp_path
        folder, shared = Path(name), Path(name, "store")
        monkeypatch.setenv("MLBUNDLE_STORE", str(shared))
        shared.mkdir()
        os.chown(shared, 0, 4711)
        shared.chmod(0o2775)
        folder.chmod(0o755)
        older = local(folder, FILES)
        newer = local(folder, {**FILES, "config.json": b"[]", "new": b"n"})
        graph = local(folder, {**FILES, "m.onnx": b"graph"}, name="graph")
        store.obtain(local(folder, {"first": b"imports"}, name="first"))  # what other users may not read any more
        shutil.rmtree(shared)
        shared.mkdir()
        os.chown(shared, 0, 4711)
        shared.chmod(0o2775)
        assert [obtain(model, user) for user, model in ((4711, older), (4712, newer), (4713, older), (4713, graph))] == [0, 0, 0, 0]
        assert wrong_files(shared, older, newer, graph) == []


def tar_of(path: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]], **options: object) -> Path:
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for member, data in members:
            member.size = member.size or len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def good(name: str = "blip", files: dict[str, bytes] = FILES) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(f"{name}/{path}"), data) for path, data in files.items()]


def info(name: str, **values: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(member, key, value)
    return member, b""


HOSTILE = [
    info("../outside", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    info("/tmp/mlbundle-absolute"),
    info("blip/../../escaped"),
    info("blip/link", type=tarfile.SYMTYPE, linkname="../../.."),
    info("blip/link/through"),
    info("blip/hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    info("blip/vocab.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    info("blip/vocab.txt", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    info("blip/device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    info("blip/fifo", type=tarfile.FIFOTYPE),
    (tarfile.TarInfo("blip/vocab.txt"), b"longer than it should be"),
    (tarfile.TarInfo("blip/vocab.txt"), b"x" * len(FILES["vocab.txt"])),
    (tarfile.TarInfo("blip/unlisted.py"), b"import os"),
    (tarfile.TarInfo("blip/" + "n" * 5000), b"long"),
]


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_of_a_hostile_archive_only_what_is_listed_is_written(tmp_path: Path, root: Path, kind: int) -> None:
    before = files_of(tmp_path)
    path = tar_of(tmp_path / "blip.tar", [*HOSTILE, *good()], format=kind)
    found = store.unpacked(model_of(), str(path))
    assert files_of(found) == FILES
    assert not any(each.is_symlink() for each in tmp_path.rglob("*"))
    assert {name for name in files_of(tmp_path) if not name.startswith("store/")} - set(before) == {"blip.tar"}
    assert wrong_files(root, model_of()) == []
    assert not Path("/tmp/mlbundle-absolute").exists()


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "no tar", "compressed", "empty", "link"])
def test_an_archive_without_the_right_bytes_is_refused(tmp_path: Path, root: Path, damage: str) -> None:
    path = tar_of(tmp_path / "blip.tar", good())
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        path.write_bytes(data.replace(FILES["vocab.txt"], b"b\na\n"))
    elif damage == "missing":
        tar_of(path, good()[1:])
    elif damage == "no tar":
        path.write_bytes(b"\x7fELF" * 1000)
    elif damage == "compressed":
        tar_of(tmp_path / "c.tar", good())
        path.write_bytes(__import__("gzip").compress(data))
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        tar_of(path, [*good()[1:], info("blip/config.json", type=tarfile.SYMTYPE, linkname="vocab.txt")])
    with pytest.raises(ModelFileError, match=r"blip\.tar: .*; get it anew"):
        store.unpacked(model_of(), str(path))
    assert store.find(model_of()) is None
    assert wrong_files(root) == []


def test_an_archive_that_leads_back_ends(tmp_path: Path) -> None:
    member, _ = info("blip/other")
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (-(512 * 2)).to_bytes(12, "big", signed=True)  # base-256, negative: back to the header
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:512]) + 256)
    path = tmp_path / "blip.tar"
    path.write_bytes(bytes(1024).join([b"", bytes(head)]) + bytes(10240))
    with pytest.raises(ModelFileError, match="get it anew"):
        store.unpacked(model_of(), str(path))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_fills_the_memory_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "blip.tar"
    head, _ = info("x", type=kind, size=300_000_000)
    path.write_bytes(head.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 300_001_024)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="a header of 300,000,000 bytes"):
            store.unpacked(model_of(), str(path))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_headers_that_lead_to_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "blip.tar"
    head, _ = info("x", type=tarfile.GNUTYPE_LONGNAME, size=512)
    path.write_bytes((head.tobuf(tarfile.GNU_FORMAT) + b"a" * 512) * 3000)
    with pytest.raises(ModelFileError, match="get it anew"):
        store.unpacked(model_of(), str(path))


def test_an_archive_is_fetched_whole_and_read(tmp_path: Path, root: Path) -> None:
    data = tar_of(tmp_path / "blip.tar", good()).read_bytes()
    archive = ModelFile(path="blip.tar", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    with serving({"models/blip.tar": data}) as server:
        model = model_of(sources=(f"{server.address}models/blip.tar",), archive=archive)
        assert files_of(store.obtain(model)) == FILES
        assert server.asked.total() == 1
    assert list((root / "partial").iterdir()) == []


def test_files_are_fetched_where_the_archive_is_not_there(tmp_path: Path, server: Server) -> None:
    archive = ModelFile(path="blip.tar", size=10240, sha256="a" * 64)
    model = model_of(sources=(f"{server.address}none/blip.tar", f"{server.address}blip/"), archive=archive)
    assert files_of(store.obtain(model)) == FILES
    assert server.asked["none/blip.tar"] == 1


def test_a_store_that_cannot_be_written_gives_what_it_has(root: Path, server: Server) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("there is no bubblewrap")
    write_descriptor(root.parent / "app", of(server))
    path = store.obtain(of(server))
    bound = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev"]
    result = subprocess.run([*bound, *command(root.parent / "app")], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.stdout.startswith(f"blip: {path}, "), result.stderr
    write_descriptor(root.parent / "app", of(server), model_of({"x": b"x"}, name="more", sources=("file:///nowhere/",)))
    result = subprocess.run([*bound, *command(root.parent / "app")], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 1
    assert "more: " in result.stderr
    assert "no store for models can be written" in result.stderr
    assert "set MLBUNDLE_STORE" in result.stderr


FORKS = """\
import os, sys
from hatch_mlbundle.runtime import model_commands
from hatch_mlbundle.runtime.models import fetching
children = [os.fork() for _ in range(32) if os.getpid() == parent] if (parent := os.getpid()) else []
if os.getpid() != parent:
    os._exit(model_commands.main())
sys.exit(any([os.waitpid(each, 0)[1] for each in children]))
"""
"""Runs a command in 32 processes at a time."""


def command(*named: str | Path, does: str = "warm") -> list[str]:
    return [sys.executable, "-m", "hatch_mlbundle.runtime", does, *map(str, named)]


@POSIX
def test_many_processes_fetch_once(tmp_path: Path, root: Path, server: Server) -> None:
    server.delay = 0.02
    write_descriptor(tmp_path / "app", of(server))
    line = [sys.executable, "-S", "-c", FORKS, *command(tmp_path / "app")[3:]]
    said = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout.replace("\n", "")
    assert said.count("blip: ") == 32
    assert len(set(said.split("blip: ")[1:])) == 1
    assert server.asked == dict.fromkeys(server.files, 1)
    assert wrong_files(root, of(server)) == []


@contextlib.contextmanager
def waiting(app: Path, root: Path, server: Server) -> Iterator[subprocess.Popen[str]]:
    """Hold all files of a model, as one who fetches them, and start a process that waits for them and says so."""
    write_descriptor(app, of(server))
    (root / "partial").mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        for data in FILES.values():
            stack.enter_context(place_lock.resumed(str(root / "partial" / hashlib.sha256(data).hexdigest())))
        process = subprocess.Popen(command(app), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline() == "blip: waiting for another process that gets it ready\n"
        yield process


@POSIX
def test_who_waits_says_so_once(tmp_path: Path, root: Path, server: Server) -> None:
    with waiting(tmp_path / "app", root, server) as process:
        pass
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


@POSIX
def test_ctrl_c_ends_it_in_one_line(tmp_path: Path, root: Path, server: Server) -> None:
    with waiting(tmp_path / "app", root, server) as process:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == "mlbundle: interrupted\n"
    assert process.returncode == 130


def test_what_standard_output_cannot_hold_is_told_all_the_same(tmp_path: Path) -> None:
    write_descriptor(tmp_path / "app", local(tmp_path, FILES, name="bl\N{SNOWMAN}p"))
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = subprocess.run(command(tmp_path / "app"), cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("bl\\u2603p: ")


@POSIX
@pytest.mark.parametrize("files", [FILES, ONNX], ids=["linked", "own"])
def test_whenever_a_process_is_killed_the_store_is_right(tmp_path: Path, root: Path, files: dict[str, bytes]) -> None:
    with serving({f"blip/{path}": data for path, data in files.items()}) as server:
        server.delay = 0.005
        model = model_of(files, sources=(f"{server.address}blip/",))
        descriptor = write_descriptor(tmp_path / "app", model)
        line = [sys.executable, "-m", "tests.killing", "random", descriptor, root, "10", "0.15"]
        said = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split()
        assert said[:2] == ["10", "0"]
        server.delay = 0
        assert files_of(store.obtain(model)) == files
    assert wrong_files(root, model) == []
    store.sweep(str(root), 0)
    assert list((root / "partial").iterdir()) == []


@POSIX
@pytest.mark.parametrize("files", [FILES, ONNX], ids=["linked", "own"])
def test_before_whichever_step_a_process_dies_the_store_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    descriptor = write_descriptor(tmp_path / "app", local(tmp_path, files))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        root = f"{name}/store"
        monkeypatch.setenv("MLBUNDLE_STORE", root)
        line = [sys.executable, "-m", "tests.killing", "steps", descriptor, root]
        died, wrong, failed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout.split()
    assert int(died) > 30
    assert (wrong, failed) == ("0", "0")


@POSIX
def test_a_killed_download_is_gone_on_from(tmp_path: Path, root: Path, server: Server) -> None:
    server.delay = 0.1
    write_descriptor(tmp_path / "app", of(server))
    process = subprocess.Popen([sys.executable, "-S", *command(tmp_path / "app")[1:]], cwd=ROOT)
    part = root / "partial" / hashlib.sha256(FILES["weights/model.bin"]).hexdigest()
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    left = part.read_bytes()
    assert left
    assert FILES["weights/model.bin"].startswith(left)
    server.delay = 0
    assert files_of(store.obtain(of(server))) == FILES
    assert server.whole["blip/weights/model.bin"] == 1


@POSIX
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_wrong(tmp_path: Path, root: Path, server: Server) -> None:
    write_descriptor(tmp_path / "app", of(server))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # which writes files of its own
    result = subprocess.run(
        command(tmp_path / "app"), cwd=ROOT, env=unwatched, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "there is no space for its 300,006 bytes" in result.stderr
    assert "set MLBUNDLE_STORE to a folder on another disk" in result.stderr
    assert wrong_files(root) == []
    assert list((root / "partial").iterdir()) == []
    assert files_of(store.obtain(of(server))) == FILES


@POSIX
def test_too_small_a_disk_is_told_before_anything_is_fetched(tmp_path: Path, server: Server) -> None:
    if os.geteuid() or not _can_mount():
        pytest.skip("no file system can be mounted here")
    folder = tmp_path / "small"
    folder.mkdir()
    write_descriptor(tmp_path / "app", of(server))
    script = 'mount -t tmpfs -o size=128k none "$1" && MLBUNDLE_STORE="$1/store" exec "$2" -m hatch_mlbundle.runtime warm "$3"'
    line = ["unshare", "-m", "sh", "-c", script, "sh", str(folder), sys.executable, str(tmp_path / "app")]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "there is no space for its 300,006 bytes" in result.stderr
    assert server.asked.total() == 0


def _can_mount() -> bool:
    return (
        bool(shutil.which("unshare"))
        and subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode == 0
    )


def test_leftovers_go_after_a_week_or_when_asked(root: Path, server: Server) -> None:
    store.obtain(of(server))
    old, fresh, held = (root / "partial" / name for name in ("a" * 64, "b" * 64, "c" * 64))
    for path in (old, fresh, held):
        path.write_bytes(b"part")
    (root / "partial/d.files").mkdir()
    long_ago = time.time() - 8 * 24 * 3600
    for path in (old, held, root / "partial/d.files"):
        os.utime(path, (long_ago, long_ago))
    with place_lock.resumed(str(held)):
        store.sweep(str(root))
        assert {path.name[0] for path in (root / "partial").iterdir()} == {"b", "c"}
    store.sweep(str(root), 0)
    assert list((root / "partial").iterdir()) == []


def test_threads_are_as_processes(server: Server) -> None:
    server.delay = 0.01
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: store.obtain(of(server)), range(8)))
    assert len(paths) == 1
    assert server.asked.total() == len(FILES)
