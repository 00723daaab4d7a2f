from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.archives.zstd_stream import load_zstd, write_zstd
from hatch_mlbundle.errors import MlbundleError

MIB = 1 << 20


def text(size: int, seed: int = 0) -> bytes:
    source = random.Random(seed)
    words = [source.randbytes(source.randint(2, 9)) for _ in range(3000)]
    return b" ".join(source.choices(words, k=size // 6))[:size]


def packed(data: bytes, *, level: int = 3, window: int = 0, workers: int = 2, step: int = MIB) -> bytes:
    pieces: list[bytes] = []
    chunks = (data[start : start + step] for start in range(0, len(data), step))
    write_zstd(chunks, pieces.append, size=len(data), level=level, window=window, workers=workers)
    return b"".join(pieces)


@pytest.fixture(scope="module")
def data() -> bytes:
    """Return enough for several jobs, the end like the beginning."""
    beginning = text(9 * MIB)
    return beginning + text(9 * MIB, seed=1) + beginning


@pytest.mark.parametrize("level", [1, 5])
@pytest.mark.parametrize("window", [0, 25])
def test_neither_workers_nor_chunks_change_the_bytes(data: bytes, level: int, window: int) -> None:
    expected = packed(data, level=level, window=window, workers=1)
    assert packed(data, level=level, window=window, workers=4) == expected
    assert packed(data, level=level, window=window, workers=3, step=77_777) == expected
    assert load_zstd().decompress(expected) == data


@pytest.mark.parametrize("size", [0, 1, 1000, MIB])
@pytest.mark.parametrize("level", [1, 18, 20])
def test_small_ones(size: int, level: int) -> None:
    data = text(size)
    assert packed(data, level=level, workers=1) == packed(data, level=level, workers=4)
    assert load_zstd().decompress(packed(data, level=level)) == data


def test_a_long_window_finds_what_lies_far_back(data: bytes) -> None:
    assert len(packed(data, window=27)) < 0.75 * len(packed(data))


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_zstd_finds_the_size_and_the_checksum(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zst").write_bytes(packed(data))
    subprocess.run(["zstd", "-q", "-d", tmp_path / "a.zst"], check=True)
    assert (tmp_path / "a").read_bytes() == data
    listed = subprocess.run(["zstd", "-lv", tmp_path / "a.zst"], capture_output=True, text=True, check=True)
    assert f"({len(data)} B)" in listed.stdout
    assert "Check: XXH64" in listed.stdout


def test_what_zstd_refuses_is_one_line() -> None:
    def too_much() -> Iterator[bytes]:
        yield bytes(100)

    with pytest.raises(MlbundleError, match=r"^zstd cannot go on: .*; a lower level or a smaller window needs less memory$"):
        write_zstd(too_much(), lambda _: None, size=50, level=3, window=0, workers=1)


def test_a_missing_library_is_one_line() -> None:
    code = (
        "import sys\nsys.modules.update(backports=None, compression=None)\n"
        "from hatch_mlbundle.bundles.archives.pack import check_formats\nfrom hatch_mlbundle.errors import MlbundleError\n"
        "check_formats(['tar.gz', 'zip'])\n"
        "try:\n    check_formats(['zip', 'tar.zst'])\nexcept MlbundleError as error:\n    print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "packing tar.zst needs the library zstd; pip install 'hatch-mlbundle[archives]'\n"
