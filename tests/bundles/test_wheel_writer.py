from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from hatch_mlbundle.atomic import replace_atomically
from hatch_mlbundle.bundles.compressor import Compressed, deflate_compressor
from hatch_mlbundle.bundles.deflate import BLOCK
from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.bundles.wheel_writer import WrittenWheel, write_wheel
from hatch_mlbundle.errors import ArtifactError, ConfigurationError
from hatch_mlbundle.model import Bundle, File, Kind, MemoryContent
from tests.bundles.wheelsmith import DIST_INFO, FILE_NAME, LISTED, build_wheel, record_row

RECORD = f"{DIST_INFO}/RECORD"
CHANGED = b"\x7fELF" + b"changed" * 3000


def file_of(path: str, data: bytes, mode: int = 0o644) -> File:
    return File(
        path=path, size=len(data), sha256=sha256(data).hexdigest(), mode=mode, kind=Kind.OTHER, owner="demo", content=MemoryContent(data)
    )


def inside(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir(exist_ok=True)
    return tmp_path / "out" / FILE_NAME


@pytest.fixture
def source(tmp_path: Path) -> Iterator[WheelSource]:
    with WheelSource.open(build_wheel(tmp_path)) as opened:
        yield opened


def write(source: WheelSource, bundle: Bundle, target: Path, workers: int = 2) -> WrittenWheel:
    with deflate_compressor(level=6, workers=workers) as compressor, replace_atomically(target) as stream:
        written = write_wheel(source, bundle, stream, compressor=compressor, workers=workers)
    assert sum(written.compressed_sizes.values()) + written.structure_size == written.size == target.stat().st_size
    with WheelSource.open(target, allow_signed=True) as result:
        again = result.scan(2)
        assert result.compressed_sizes == written.compressed_sizes
        assert result.structure_size == written.structure_size
        assert [(file.path, file.sha256, file.mode) for file in again.values()] == [
            (file.path, file.sha256, file.mode) for file in written.bundle.values()
        ]
    return written


def changed(bundle: Bundle) -> Bundle:
    """Drop one file, replace two, add one."""
    replaced = [file_of("demo/_native.so", CHANGED, 0o755), file_of("top.py", b"import demo  # changed\n")]
    return bundle.without(["demo/noise.bin"]).replacing([*replaced, file_of("demo/new.py", b"new = True\n")])


def test_the_new_wheel_holds_the_bundle(source: WheelSource, tmp_path: Path) -> None:
    target = inside(tmp_path)
    written = write(source, changed(source.scan(2)), target)
    with zipfile.ZipFile(target) as archive:
        assert archive.namelist() == [
            "demo/__init__.py",
            "demo/_native.so",
            "demo/empty.py",
            "demo.libs/libx.so",
            "top.py",
            "demo-1.0.data/purelib/extra/__init__.py",
            "demo-1.0.data/scripts/run",
            "demo/new.py",
            f"{DIST_INFO}/METADATA",
            f"{DIST_INFO}/WHEEL",
            RECORD,
        ]
        assert archive.read("demo/_native.so") == CHANGED
        assert [row[0] for row in csv.reader(io.StringIO(archive.read(RECORD).decode()))] == archive.namelist()
        assert archive.read(RECORD) == written.bundle[RECORD].read()
        infos = {info.filename: info for info in archive.infolist()}
    assert all(info.create_system == 3 and not info.extra and not info.flag_bits for info in infos.values())
    assert infos["demo/_native.so"].external_attr >> 16 == 0o100755
    assert infos["demo/_native.so"].date_time == infos["top.py"].date_time == infos[RECORD].date_time == (2021, 3, 4, 5, 6, 8)


def test_unchanged_members_are_copied_as_they_lie(source: WheelSource, tmp_path: Path) -> None:
    bundle = source.scan(2)
    write(source, changed(bundle), inside(tmp_path))
    with WheelSource.open(inside(tmp_path)) as result:
        for path in bundle.keys() & result.members.keys() - {"demo/_native.so", "top.py", RECORD}:
            old, new = source.members[path], result.members[path]
            assert b"".join(old.raw_chunks()) == b"".join(new.raw_chunks())
            assert (old.method, old.mode, old.date, old.time) == (new.method, new.mode, new.date, new.time)
            assert result.record[path].line == source.record[path].line


def test_rows_of_unchanged_members_keep_their_hash_algorithm(tmp_path: Path) -> None:
    record = "".join(record_row(path, data, "sha512") for path, data in LISTED.items()) + f"{RECORD},,\n"
    target = inside(tmp_path)
    with WheelSource.open(build_wheel(tmp_path, record=record)) as source:
        write(source, changed(source.scan(1)), target)
    with WheelSource.open(target) as result:
        assert {path: row.algorithm for path, row in result.record.items() if path in ("top.py", "demo/empty.py", RECORD)} == {
            "top.py": "sha256",
            "demo/empty.py": "sha512",
            RECORD: "",
        }


def test_neither_workers_nor_the_target_change_the_bytes(source: WheelSource, tmp_path: Path) -> None:
    bundle = changed(source.scan(1))
    large = file_of("demo/large.bin", os.urandom(1000) * (4 * BLOCK // 1000))
    bundle = bundle.replacing([large, *(file_of(f"demo/many/{number}.py", b"x = 1\n" * number) for number in range(60))])
    results = []
    for workers in (1, 2, 8):
        target = tmp_path / str(workers) / FILE_NAME
        target.parent.mkdir()
        write(source, bundle, target, workers)
        results.append(target.read_bytes())
    assert results[0] == results[1] == results[2]


def test_a_changed_mode_alone_is_written(source: WheelSource, tmp_path: Path) -> None:
    bundle = source.scan(1)
    run = replace(bundle["top.py"], mode=0o755)
    assert write(source, bundle.replacing([run]), inside(tmp_path)).bundle["top.py"].mode == 0o755


def test_nothing_changed_keeps_record_and_signature(tmp_path: Path) -> None:
    signature = f"{DIST_INFO}/RECORD.jws"
    path = build_wheel(tmp_path, unlisted={signature: b'{"payload": "..."}'})
    with WheelSource.open(path, allow_signed=True) as source:
        bundle = source.scan(2)
        same = write(source, bundle, inside(tmp_path))
        assert signature in same.bundle
        assert list(same.bundle)[-1] == RECORD
        assert same.bundle[RECORD].content is bundle[RECORD].content
        other = write(source, bundle.without(["top.py"]), inside(tmp_path))
        assert signature not in other.bundle


def test_added_files_get_source_date_epoch(source: WheelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = source.scan(1).replacing([file_of("demo/new.py", b"")])

    def stamp() -> tuple[int, ...]:
        write(source, bundle, inside(tmp_path))
        with zipfile.ZipFile(inside(tmp_path)) as archive:
            return archive.getinfo("demo/new.py").date_time

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert stamp() == (2020, 2, 2, 0, 0, 0)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000001")
    assert stamp() == (2023, 11, 14, 22, 13, 20)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert stamp() == (1980, 1, 1, 0, 0, 0)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ConfigurationError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        stamp()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda bundle: bundle.replacing([file_of("../up.py", b"")]), "'../up.py': the name holds '.' or '..'"),
        (lambda bundle: bundle.replacing([file_of("top.py/x", b"")]), "'top.py' both as a file and as a folder"),
        (lambda bundle: bundle.replacing([replace(file_of("a", b""), link="top.py")]), "no symbolic links"),
        (lambda bundle: bundle.without([f"{DIST_INFO}/METADATA"]), f"cannot do without {DIST_INFO}/METADATA"),
    ],
)
def test_what_no_wheel_can_be(source: WheelSource, tmp_path: Path, change: object, fault: str) -> None:
    with pytest.raises(ArtifactError, match=fault.replace(".", r"\.")):
        write(source, change(source.scan(1)), inside(tmp_path))  # type: ignore[operator]
    assert not list((tmp_path / "out").iterdir())


class Lying:
    """A compressor (a broken cache, say) that gives another file's stream."""

    def compress(self, file: File) -> Compressed:
        return Compressed(stream=MemoryContent(b"other"), method=0, crc32=0, size=5, compressed_size=5)


def test_a_compressor_that_gives_another_file_is_our_bug(source: WheelSource) -> None:
    with pytest.raises(RuntimeError, match=r"demo/_native\.so: the compressor gave 5 bytes"):
        write_wheel(source, changed(source.scan(1)), io.BytesIO(), compressor=Lying(), workers=1)


def test_a_file_that_cannot_be_compressed_stops_the_writing(source: WheelSource, tmp_path: Path) -> None:
    broken = replace(file_of("demo/new.py", b"abc"), sha256="0" * 64)
    others = [file_of(f"demo/{number}", b"x" * number) for number in range(50)]
    with pytest.raises(ArtifactError, match=r"demo/new\.py: its bytes changed"):
        write(source, source.scan(1).replacing([broken, *others]), inside(tmp_path))
