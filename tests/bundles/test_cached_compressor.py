from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.cached_compressor import SMALLEST, CachedCompressor
from hatch_mlbundle.bundles.compressor import Compressed
from hatch_mlbundle.cache import Cache
from hatch_mlbundle.model import DiskContent, File
from tests.builders import file_of

LARGE = file_of("large", b"x" * (SMALLEST + 1))
NOISE = file_of("noise", random.Random(1).randbytes(SMALLEST + 1))
SMALL = file_of("small", b"x" * (SMALLEST - 1))


class Deflating:
    """A Compressor that writes each stream to a folder, and counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: list[str] = []

    def compress(self, file: File) -> Compressed:
        self.asked.append(file.path)
        data = file.read()
        deflater = zlib.compressobj(wbits=-15)
        stream = deflater.compress(data) + deflater.flush()
        path = self._folder / f"{len(self.asked)}.deflate"
        if len(stream) >= len(data):
            return Compressed(stream=file.content, method=0, crc32=zlib.crc32(data), size=len(data), compressed_size=len(data))
        path.write_bytes(stream)
        return Compressed(stream=DiskContent(path), method=8, crc32=zlib.crc32(data), size=len(data), compressed_size=len(stream))


class Bench:
    """Builds that share one cache."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = Cache(root / "cache", 10**9)
        self.builds = 0

    def build(self, identity: str = "level 6") -> tuple[CachedCompressor, Deflating]:
        self.builds += 1
        folders = [self.root / f"{name}-{self.builds}" for name in ("scratch", "streams")]
        for folder in folders:
            folder.mkdir()
        deflating = Deflating(folders[0])
        return CachedCompressor(deflating, identity, self.cache, folders[1]), deflating


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def facts(compressed: Compressed) -> tuple[object, ...]:
    stream = b"".join(compressed.stream.chunks())
    return (stream, compressed.method, compressed.crc32, compressed.size, compressed.compressed_size)


@pytest.mark.parametrize("file", [LARGE, NOISE, SMALL])
def test_warm_is_cold(bench: Bench, file: File) -> None:
    cold, _ = bench.build()
    warm, _ = bench.build()
    assert facts(cold.compress(file)) == facts(warm.compress(file)) == facts(warm.compress(file))


def test_a_large_file_is_deflated_once(bench: Bench) -> None:
    for expected in (["large"], [], []):
        compressor, deflating = bench.build()
        compressor.compress(LARGE)
        assert deflating.asked == expected


def test_a_file_that_does_not_get_smaller_is_deflated_once(bench: Bench) -> None:
    for expected in (["noise"], []):
        compressor, deflating = bench.build()
        compressor.compress(NOISE)
        assert deflating.asked == expected


def test_a_small_file_is_not_worth_it(bench: Bench) -> None:
    compressor, _ = bench.build()
    compressor.compress(SMALL)
    assert bench.cache.usage().entries == 0


def test_another_level_is_another_stream(bench: Bench) -> None:
    for identity in ("level 6", "level 9"):
        compressor, deflating = bench.build(identity)
        compressor.compress(LARGE)
        assert deflating.asked == ["large"]


def test_the_name_decides_nothing(bench: Bench) -> None:
    first, _ = bench.build()
    first.compress(LARGE)
    second, deflating = bench.build()
    second.compress(file_of("renamed", LARGE.read()))
    assert deflating.asked == []


def test_a_damaged_stream_is_made_anew(bench: Bench) -> None:
    compressor, _ = bench.build()
    expected = facts(compressor.compress(LARGE))
    (stream,) = bench.cache.folder.rglob("stream")
    stream.unlink()
    stream.write_bytes(b"damaged")
    again, deflating = bench.build()
    assert facts(again.compress(LARGE)) == expected
    assert deflating.asked == ["large"]


def test_a_stream_in_use_outlives_the_cache(bench: Bench) -> None:
    first, _ = bench.build()
    expected = facts(first.compress(LARGE))
    second, _ = bench.build()
    compressed = second.compress(LARGE)
    bench.cache.prune(max_size=0)
    assert facts(compressed) == expected
