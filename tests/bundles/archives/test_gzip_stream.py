from __future__ import annotations

import gzip
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.archives.gzip_stream import write_gzip
from hatch_mlbundle.bundles.deflate import BLOCK

DATA = random.Random(5).randbytes(2 * BLOCK) * 2 + b"tail"


def packed(data: bytes, level: int = 6, workers: int = 2, step: int = 1 << 20) -> bytes:
    pieces: list[bytes] = []
    write_gzip((data[start : start + step] for start in range(0, len(data), step)), pieces.append, level=level, workers=workers)
    return b"".join(pieces)


@pytest.mark.parametrize("data", [b"", b"a", DATA])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_it_unpacks_to_the_same_bytes(data: bytes, level: int) -> None:
    assert gzip.decompress(packed(data, level)) == data


def test_neither_workers_nor_chunks_change_the_bytes() -> None:
    assert len({packed(DATA, 6, workers, step) for workers in (1, 2, 5) for step in (12_345, 1 << 22)}) == 1


@pytest.mark.parametrize(("level", "extra"), [(1, 4), (6, 0), (9, 2)])
def test_the_header_has_no_name_and_no_time(level: int, extra: int) -> None:
    assert packed(b"data", level)[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, extra, 255])


@pytest.mark.skipif(not shutil.which("gzip"), reason="needs gzip")
def test_gzip_finds_one_sound_member(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(packed(DATA))
    listed = subprocess.run(["gzip", "-tlv", tmp_path / "a.gz"], capture_output=True, text=True, check=True)
    assert str(len(DATA)) in listed.stdout + listed.stderr
