from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from hatch_mlbundle.bundles.archives.pack import archive_of, checksum_line, pack
from hatch_mlbundle.bundles.archives.zstd_stream import load_zstd
from hatch_mlbundle.config import ArchiveFormat, PackingSettings
from hatch_mlbundle.errors import ArtifactError, ConfigurationError, StorageError
from hatch_mlbundle.manifest import PackedRow

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and permission bits are Unix's")

FORMATS: tuple[ArchiveFormat, ...] = get_args(ArchiveFormat)
FAST = PackingSettings(zstd_level=3, gzip_level=1, zip_level=1)
GNU_TAR = shutil.which("tar") and "GNU tar" in subprocess.run(["tar", "--version"], capture_output=True, text=True, check=False).stdout
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def make(tree: Path, archive_format: ArchiveFormat, *, workers: int = 2, **settings: int) -> tuple[Path, PackedRow]:
    target = archive_of(tree, archive_format)
    return target, pack(tree, target, archive_format, PackingSettings(**settings) if settings else FAST, workers=workers)


def unpacked(command: list[str | Path], tree: Path, tmp_path: Path) -> Path:
    """Run a program that unpacks, under a umask that would show, and return the folder that came out."""
    place = tmp_path / "unpacked"
    place.mkdir()
    subprocess.run(command, cwd=place, env=UTF8, check=True, umask=0o022)
    (root,) = place.iterdir()
    assert root.name == tree.name
    return root


def hard_links(root: Path) -> set[tuple[str, ...]]:
    by_inode: dict[int, list[str]] = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            by_inode.setdefault(path.stat().st_ino, []).append(path.relative_to(root).as_posix())
    return {tuple(sorted(names)) for names in by_inode.values() if len(names) > 1}


@pytest.mark.skipif(not GNU_TAR, reason="needs GNU tar")
@pytest.mark.parametrize(
    ("archive_format", "option"),
    [pytest.param("tar.zst", "--zstd", marks=needs("zstd")), pytest.param("tar.gz", "--gzip", marks=needs("gzip"))],
)
def test_gnu_tar_unpacks_it(tree: Path, tmp_path: Path, shape: Callable[[Path], Any], archive_format: ArchiveFormat, option: str) -> None:
    target, _ = make(tree, archive_format)
    root = unpacked(["tar", option, "-xf", target], tree, tmp_path)
    assert shape(root) == shape(tree)
    assert hard_links(root) == hard_links(tree) != set()


def test_python_unpacks_tar(tree: Path, tmp_path: Path, shape: Callable[[Path], Any]) -> None:
    target, _ = make(tree, "tar.gz")
    root = unpacked([sys.executable, "-c", f"import tarfile; tarfile.open({str(target)!r}).extractall(filter='tar')"], tree, tmp_path)
    assert shape(root) == shape(tree)


@needs("unzip")
def test_unzip_unpacks_it(tree: Path, tmp_path: Path, shape: Callable[[Path], Any]) -> None:
    target, _ = make(tree, "zip")
    assert shape(unpacked(["unzip", "-q", target], tree, tmp_path)) == shape(tree)


def test_python_finds_no_fault_in_the_zip(tree: Path) -> None:
    target, _ = make(tree, "zip")
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 1 + len(list(tree.rglob("*")))


@needs("zstd")
def test_zstd_unpacks_what_the_longest_allowed_window_gives_without_being_told(tree: Path) -> None:
    with (tree / "large").open("wb") as stream:
        stream.truncate(150 << 20)  # larger than the window
    target, _ = make(tree, "tar.zst", zstd_level=1, zstd_window=27)
    subprocess.run(["zstd", "-q", "-t", target], check=True)
    assert load_zstd().get_frame_info(target.read_bytes()[:100]).decompressed_size > 150 << 20


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_came_out_is_told(tree: Path, archive_format: ArchiveFormat) -> None:
    target, packed = make(tree, archive_format)
    assert (packed.name, packed.format, packed.size) == (f"app-1.0 ü.{archive_format}", archive_format, target.stat().st_size)
    assert sorted(tree.parent.iterdir()) == [tree, target, target.with_name(target.name + ".sha256")]


@needs("sha256sum")
@pytest.mark.parametrize("name", ["app", "app-1.0 ü", "back\\slash", "new\nline"])
def test_sha256sum_agrees(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    target, packed = make(tmp_path / name, "tar.gz")
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", target.name + ".sha256"], cwd=tmp_path, env=UTF8, check=True, capture_output=True
    )
    assert b": OK" in checked.stdout
    written = subprocess.run(["sha256sum", target.name], cwd=tmp_path, env=UTF8, check=True, capture_output=True).stdout
    assert written == checksum_line(packed).encode() == target.with_name(target.name + ".sha256").read_bytes()


AGAIN = """
import os, sys
from pathlib import Path
from hatch_mlbundle.bundles.archives.pack import archive_of, pack
from hatch_mlbundle.config import PackingSettings
os.umask(int(sys.argv[2], 8))
tree, settings = Path(sys.argv[1]), PackingSettings(zstd_level=3, gzip_level=1, zip_level=1)
for each in ("tar.zst", "tar.gz", "zip"):
    print(pack(tree, archive_of(tree, each), each, settings, workers=int(sys.argv[3])).sha256)
"""


def test_the_same_tree_gives_the_same_bytes_anywhere(tree: Path, tmp_path: Path) -> None:
    (tree / "lib/large").write_bytes(random.Random(1).randbytes(1 << 20) + bytes(12 << 20) + random.Random(1).randbytes(1 << 20))
    subprocess.run(["cp", "-a", tree, tmp_path / "copy"], check=True)
    results = set()
    for seed, umask, workers, when in (("0", "022", "1", 10**9), ("7", "077", "4", 1), ("99", "000", "3", 2 * 10**9)):
        copy = tmp_path / seed / tree.name
        copy.parent.mkdir()
        subprocess.run(["cp", "-a", tmp_path / "copy", copy], check=True)
        for path in copy.rglob("*"):
            os.utime(path, (when, when), follow_symlinks=False)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu" if seed == "7" else "UTC"}
        command = [sys.executable, "-c", AGAIN, copy, umask, workers]
        results.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(results) == 1


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_does_change_the_bytes(tree: Path, archive_format: ArchiveFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [make(tree, archive_format)[1].sha256]
    (tree / "run").chmod(0o644)
    seen.append(make(tree, archive_format)[1].sha256)
    (tree / "lib/libx.so").unlink()
    (tree / "lib/libx.so").symlink_to("libx.so.1.0")
    seen.append(make(tree, archive_format)[1].sha256)
    (tree / "hollow/inner").rmdir()
    seen.append(make(tree, archive_format)[1].sha256)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    seen.append(make(tree, archive_format)[1].sha256)
    assert len(set(seen)) == len(seen)


def test_the_time_is_hatchlings_or_the_one_that_is_asked_for(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for expected in (1580601600, 1700000000):
        target, _ = make(tree, "tar.gz")
        with tarfile.open(target) as archive:
            assert {each.mtime for each in archive} == {expected}
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(ConfigurationError, match="SOURCE_DATE_EPOCH is 'soon'"):
        make(tree, "tar.gz")


@pytest.mark.parametrize("archive_format", FORMATS)
def test_what_cannot_be_packed_leaves_the_former_archive(tree: Path, archive_format: ArchiveFormat) -> None:
    target, _ = make(tree, archive_format)
    before = {path: path.read_bytes() for path in tree.parent.iterdir() if path.is_file()}
    (tree / "lib/out").symlink_to("../../..")
    with pytest.raises(ArtifactError, match="is a link out of the folder"):
        make(tree, archive_format)
    assert {path: path.read_bytes() for path in tree.parent.iterdir() if path.is_file()} == before
    assert target in before


def test_an_archive_inside_of_what_it_holds_is_refused(tree: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is inside .*, which it is to hold; choose a place outside of it"):
        pack(tree, tree / "lib/app.zip", "zip", FAST, workers=1)


def test_a_place_that_is_not_there_is_one_line(tree: Path) -> None:
    with pytest.raises(StorageError, match="there is no such folder; create it first"):
        pack(tree, tree.parent / "dist/app.zip", "zip", FAST, workers=1)


CUT = """
import resource, sys
from pathlib import Path
from hatch_mlbundle.bundles.archives.pack import archive_of, pack
from hatch_mlbundle.config import PackingSettings
from hatch_mlbundle.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
tree = Path(sys.argv[1])
try:
    pack(tree, archive_of(tree, sys.argv[2]), sys.argv[2], PackingSettings(zstd_level=3), workers=2, scratch=Path(sys.argv[3]))
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_full_disk_is_one_line_and_leaves_the_former_archive(tree: Path, tmp_path: Path, archive_format: ArchiveFormat) -> None:
    target, _ = make(tree, archive_format)
    before = {path: path.read_bytes() for path in tree.parent.iterdir() if path.is_file()}
    (tree / "large").write_bytes(random.Random(3).randbytes(1 << 20))
    command = [sys.executable, "-c", CUT, tree, archive_format, tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == f"file size limit reached while writing {target}; free some space, what was there before is untouched\n"
    assert {path: path.read_bytes() for path in tree.parent.iterdir() if path.is_file()} == before


def test_progress_is_told_in_megabytes(tree: Path) -> None:
    (tree / "large").write_bytes(bytes(3_500_000))
    told: list[tuple[str, int]] = []

    class Listener:
        def start(self, what: str, total: int) -> None:
            told.append((what, total))

        def advance(self, units: int = 1) -> None:
            told.append(("", units))

    for archive_format in FORMATS:
        pack(tree, archive_of(tree, archive_format), archive_format, FAST, workers=2, progress=Listener())
        assert told[0] == (f"packing {tree.name}.{archive_format}", 3)
        assert sum(units for _, units in told[1:]) == 3
        told.clear()


MEMORY = """
import sys
from pathlib import Path
from hatch_mlbundle.bundles.archives.pack import archive_of, pack
from hatch_mlbundle.config import PackingSettings
tree = Path(sys.argv[1])
pack(tree, archive_of(tree, sys.argv[2]), sys.argv[2], PackingSettings(), workers=2, scratch=tree.parent)
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024 // 10**6)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one process is read from Linux's /proc")
@pytest.mark.parametrize(
    ("archive_format", "megabytes"), [pytest.param("tar.zst", 240, marks=pytest.mark.very_slow), ("tar.gz", 80), ("zip", 150)]
)
def test_large_trees_are_packed_in_bounded_memory(tmp_path: Path, archive_format: ArchiveFormat, megabytes: int) -> None:
    (tmp_path / "app").mkdir()
    source = random.Random(0)
    for name in ("large", "larger"):
        with (tmp_path / "app" / name).open("wb") as stream:
            for _ in range(80):
                stream.write(source.randbytes(1 << 20) + bytes(1 << 20))
    ran = subprocess.run([sys.executable, "-c", MEMORY, tmp_path / "app", archive_format], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < megabytes
