from __future__ import annotations

import errno
import hashlib
import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.compressor import WHOLE, compressor_identity, deflate_compressor
from hatch_mlbundle.bundles.deflate import BLOCK
from hatch_mlbundle.errors import ArtifactError, StorageError
from hatch_mlbundle.model import DiskContent, File, Kind, MemoryContent


def file_of(data: bytes, path: Path | None = None) -> File:
    content = MemoryContent(data) if path is None else DiskContent(path)
    digest = hashlib.sha256(data).hexdigest()
    return File(path="pkg/a", size=len(data), sha256=digest, mode=0o644, kind=Kind.OTHER, owner="pkg", content=content)


@pytest.mark.parametrize("size", [100, 3 * BLOCK, WHOLE, WHOLE + 10])
def test_what_shrinks_is_deflated(tmp_path: Path, size: int) -> None:
    data = (b"0123456789" * (size // 10 + 1))[:size]
    with deflate_compressor(level=6, workers=2, scratch=tmp_path) as compressor:
        packed = compressor.compress(file_of(data))
        stream = b"".join(packed.stream.chunks())
    assert (packed.method, packed.size, packed.crc32) == (8, len(data), zlib.crc32(data))
    assert packed.compressed_size == len(stream)
    assert zlib.decompress(stream, -15) == data


@pytest.mark.parametrize("size", [0, 100, 3 * BLOCK, WHOLE + 1])
def test_what_does_not_shrink_is_stored(tmp_path: Path, size: int) -> None:
    data = random.Random(1).randbytes(size)
    with deflate_compressor(level=9, workers=2, scratch=tmp_path) as compressor:
        packed = compressor.compress(file_of(data))
        assert not list(tmp_path.rglob("*.deflate"))
    assert (packed.method, packed.compressed_size) == (0, len(data))
    assert b"".join(packed.stream.chunks()) == data


def test_streams_of_large_files_lie_in_scratch_until_the_compressor_closes(tmp_path: Path) -> None:
    with deflate_compressor(level=1, workers=1, scratch=tmp_path) as compressor:
        path = compressor.compress(file_of(random.Random(2).randbytes(2 * BLOCK) + bytes(BLOCK))).stream.local_path()
        assert path is not None
        assert path.is_relative_to(tmp_path)
    assert not list(tmp_path.iterdir())


def test_bytes_that_changed_meanwhile_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"after!")
    with deflate_compressor(level=6, workers=1) as compressor, pytest.raises(ArtifactError, match="pkg/a: its bytes changed"):
        compressor.compress(file_of(b"before", path))


class FullDisk:
    def chunks(self) -> Iterator[bytes]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield b""

    def local_path(self) -> Path | None:
        return None


@pytest.mark.parametrize("size", [2 * BLOCK, WHOLE + 1])
def test_a_full_scratch_disk_is_named(tmp_path: Path, size: int) -> None:
    file = replace(file_of(bytes(size)), content=FullDisk())
    refusal = pytest.raises(StorageError, match=f"disk full while writing {tmp_path}")
    with deflate_compressor(level=6, workers=1, scratch=tmp_path) as compressor, refusal:
        compressor.compress(file)


def test_many_threads_share_the_memory_and_give_the_same_streams(tmp_path: Path) -> None:
    files = [file_of(bytes([number]) * (WHOLE // 2 + 1)) for number in range(6)]
    with deflate_compressor(level=1, workers=2, scratch=tmp_path) as compressor, ThreadPoolExecutor(6) as pool:
        together = [b"".join(packed.stream.chunks()) for packed in pool.map(compressor.compress, files)]
        alone = [b"".join(compressor.compress(file).stream.chunks()) for file in files]
    assert together == alone


def test_identity_tells_levels_apart() -> None:
    assert len({compressor_identity(level) for level in range(1, 13)}) == 12
