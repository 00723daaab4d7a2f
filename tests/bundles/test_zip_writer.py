from __future__ import annotations

import io
import itertools
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.bundles.zip_format import dos_timestamp
from hatch_mlbundle.bundles.zip_reader import Limits, ZipReader
from hatch_mlbundle.bundles.zip_writer import ZipEntry, ZipWriter

ZEROS = bytes(1 << 20)


class Sparse(io.FileIO):
    """A file that leaves holes where zeros are written, so that 5 GiB take no room."""

    def write(self, data: Any) -> int:
        if data is ZEROS:
            self.seek(len(data), io.SEEK_CUR)
            return len(data)
        return super().write(data) or 0


def entry(path: str, data: bytes = b"", **replaced: int) -> ZipEntry:
    date, time = dos_timestamp(1_600_000_000)
    values = {"size": len(data), "compressed_size": len(data), "crc32": zlib.crc32(data), "method": 0, "mode": 0o644}
    return ZipEntry(path=path, date=date, time=time, **{**values, **replaced})


def test_headers_say_what_zipfile_understands() -> None:
    stream = io.BytesIO()
    writer = ZipWriter(stream)
    writer.add(entry("a/run", b"one", mode=0o755), [b"o", b"ne"])
    writer.add(entry("ü.txt", b"two"), [b"two"])
    writer.close()
    assert writer.size == len(stream.getvalue()) == writer.structure_size + 6
    with zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
        run, umlaut = archive.infolist()
    assert (run.filename, run.external_attr >> 16, run.create_system, run.flag_bits, run.extra) == ("a/run", 0o100755, 3, 0, b"")
    assert run.date_time == (2020, 9, 13, 12, 26, 40)
    assert (umlaut.filename, umlaut.flag_bits) == ("ü.txt", 1 << 11)


def test_a_stream_of_another_length_is_our_bug() -> None:
    with pytest.raises(RuntimeError, match="2 compressed bytes where 3 were declared"):
        ZipWriter(io.BytesIO()).add(entry("a", b"abc"), [b"ab"])


@pytest.mark.parametrize("count", [65_534, 65_535, 65_540])
def test_many_members(tmp_path: Path, count: int) -> None:
    path = tmp_path / "many.zip"
    with path.open("wb") as stream:
        writer = ZipWriter(stream)
        for number in range(count):
            writer.add(entry(f"{number:x}"), [])
        writer.close()
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == count
    assert (b"PK\x06\x06" in path.read_bytes()[-100:]) == (count >= 65_535)
    reader = ZipReader(path, Limits())
    assert len(reader.members) == count
    reader.close()


def test_sizes_and_offsets_above_4_gib(tmp_path: Path) -> None:
    path, size = tmp_path / "large.zip", 5 << 30
    with Sparse(path, "w") as stream:
        writer = ZipWriter(stream)  # type: ignore[arg-type]
        writer.add(entry("large", size=size, compressed_size=size), itertools.repeat(ZEROS, size >> 20))
        writer.add(entry("behind", b"behind"), [b"behind"])
        writer.close()
        assert stream.tell() == writer.size
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()] == [size, 6]
        assert archive.read("behind") == b"behind"
        assert archive.open("large").read(3) == bytes(3)
    reader = ZipReader(path, Limits())
    assert b"".join(reader.members["behind"].chunks()) == b"behind"
    assert reader.members["large"].size == size
    assert reader.structure_size == writer.structure_size
    reader.close()


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, (1980, 1, 1, 0, 0, 0)),
        (1580601600, (2020, 2, 2, 0, 0, 0)),
        (10**15, (2107, 12, 31, 23, 59, 58)),
        (-(10**15), (1980, 1, 1, 0, 0, 0)),
    ],
)
def test_timestamps_are_moved_into_what_dos_can_say(epoch: int, expected: tuple[int, ...]) -> None:
    date, time = dos_timestamp(epoch)
    assert ((date >> 9) + 1980, date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, 2 * (time & 31)) == expected
