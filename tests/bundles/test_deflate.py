from __future__ import annotations

import hashlib
import random
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hatch_mlbundle.bundles.deflate import BLOCK, BlockPool, deflate, deflate_identity


def text(size: int, seed: int = 0) -> bytes:
    """Return bytes that deflate about as code does."""
    source = random.Random(seed)
    words = [source.randbytes(source.randint(2, 9)) for _ in range(3000)]
    return b" ".join(source.choices(words, k=size // 6))[:size]


def packed(data: bytes, level: int = 6, workers: int = 2, step: int = 1 << 20) -> bytes:
    pieces: list[bytes] = []
    chunks = (data[start : start + step] for start in range(0, len(data), step))
    with BlockPool(workers) as pool:
        result = deflate(chunks, pieces.append, level=level, pool=pool)
    stream = b"".join(pieces)
    assert (result.size, result.compressed_size) == (len(data), len(stream))
    assert (result.crc32, result.sha256) == (zlib.crc32(data), hashlib.sha256(data).hexdigest())
    return stream


@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 17])
def test_the_stream_inflates_to_the_content(size: int) -> None:
    data = text(size)
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(packed(data)) == data
    assert inflater.eof
    assert not inflater.unused_data


@pytest.mark.parametrize("level", [1, 6, 9])
def test_neither_workers_nor_chunks_change_the_stream(level: int) -> None:
    data = text(4 * BLOCK + 99)
    expected = packed(data, level, workers=1)
    assert packed(data, level, workers=3, step=4096 + 1) == expected
    assert packed(data, level, workers=16, step=len(data)) == expected


@pytest.mark.parametrize("level", [6, 9])
def test_blocks_cost_next_to_nothing(level: int) -> None:
    data = text(12 * BLOCK)
    plain = zlib.compressobj(level, zlib.DEFLATED, -15)
    size = len(plain.compress(data)) + len(plain.flush())
    assert len(packed(data, level)) <= 1.002 * size


def test_streams_that_share_a_pool_never_wait_for_each_other() -> None:
    data = text(6 * BLOCK)
    expected = packed(data, 1)

    def one(_: int) -> bytes:
        pieces: list[bytes] = []
        deflate([data], pieces.append, level=1, pool=pool)
        return b"".join(pieces)

    with BlockPool(1) as pool, ThreadPoolExecutor(6) as threads:
        assert set(threads.map(one, range(6))) == {expected}


def test_blocks_in_flight_are_bounded() -> None:
    running, peak, lock = 0, 0, threading.Lock()

    def content() -> Iterator[bytes]:
        nonlocal running, peak
        for _ in range(30):
            with lock:
                running += 1
                peak = max(peak, running)
            yield bytes(BLOCK)

    def sink(_: bytes) -> None:
        nonlocal running
        with lock:
            running -= 1

    with BlockPool(2) as pool:
        deflate(content(), sink, level=1, pool=pool)
    assert peak <= 7  # four slots, one block being held back to know the last, two being cut


def test_a_failure_gives_the_slots_back() -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(3 * BLOCK)
        raise OSError("gone")

    def refuse(_: bytes) -> None:
        raise OSError("full")

    data = text(9 * BLOCK)
    with BlockPool(1) as pool:
        for _ in range(4):
            with pytest.raises(OSError, match="gone"):
                deflate(broken(), lambda _: None, level=1, pool=pool)
            with pytest.raises(OSError, match="full"):
                deflate([data], refuse, level=1, pool=pool)
        assert deflate([data], lambda _: None, level=1, pool=pool).size == len(data)


def test_the_identity_names_what_decides_the_bytes() -> None:
    assert zlib.ZLIB_RUNTIME_VERSION in deflate_identity(6)
    assert deflate_identity(6) != deflate_identity(9)
