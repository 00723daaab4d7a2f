"""Reading and writing at a place: the same with the system's own means and without."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.positioned import COPIED, copy_range, opened, read_into, write_from


@pytest.fixture(params=["at a place", "by moving there"])
def _means(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by moving there":
        monkeypatch.delattr(os, "preadv")
        monkeypatch.delattr(os, "pwrite")


@pytest.mark.usefixtures("_means")
def test_many_threads_read_and_write_their_own_places(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)
    (tmp_path / "in").write_bytes(content.tobytes())
    (tmp_path / "out").touch()

    def carry(start: int) -> None:
        piece = np.empty(1000, np.uint8)[: content.size - start]
        read_into(reading, piece, start)
        write_from(writing, piece.data, start)

    source, target = opened(tmp_path / "in", os.O_RDONLY), opened(tmp_path / "out", os.O_WRONLY)
    with source as reading, target as writing, ThreadPoolExecutor(8) as pool:
        list(pool.map(carry, range(0, content.size, 1000)))
    assert (tmp_path / "out").read_bytes() == content.tobytes()


@pytest.mark.usefixtures("_means")
def test_a_file_that_ends_early_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"12345")
    with opened(tmp_path / "in", os.O_RDONLY) as reading, pytest.raises(ModelError, match="became shorter"):
        read_into(reading, np.empty(3, np.uint8), 3)


def test_ranges_longer_than_a_buffer_are_copied(tmp_path: Path) -> None:
    content = os.urandom(COPIED + 5)
    (tmp_path / "in").write_bytes(b"123" + content)
    (tmp_path / "out").write_bytes(b"ab")
    with opened(tmp_path / "in", os.O_RDONLY) as reading, opened(tmp_path / "out", os.O_WRONLY) as writing:
        copy_range(reading, 3, 3 + len(content), writing, 1)
        copy_range(reading, 3, 3, writing, 0)
    assert (tmp_path / "out").read_bytes() == b"a" + content
