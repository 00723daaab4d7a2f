from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.elf_layout import Anchor, Layout, Piece, arrange, write_outline
from hatch_mlbundle.binaries.elf_strip import plan_strip
from hatch_mlbundle.binaries.ranges import Range, union
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import StorageError
from tests.elfsmith import build_elf, patched_parts

kept_ranges = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=8).map(union).filter(bool)


@given(kept_ranges, st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0, 1, 4, 16, 64])), max_size=5))
def test_pieces_keep_order_size_and_alignment_and_never_move_up(kept: list[Range], wishes: list[tuple[int, int]]) -> None:
    anchors = [Anchor(*kept[number % len(kept)], align) for number, align in wishes]
    pieces = arrange(kept, anchors).pieces
    assert [(piece.source, piece.source + piece.size) for piece in pieces] == kept
    assert all(before.target + before.size <= after.target for before, after in pairwise(pieces))
    assert all(piece.target <= piece.source for piece in pieces)
    for anchor in anchors:
        assert (arrange(kept, anchors).moved(anchor.start) - anchor.start) % max(anchor.align, 1) == 0


def test_what_is_gone_collapses() -> None:
    layout = Layout((Piece(0, 0, 10), Piece(50, 16, 10)))
    assert [layout.moved(at) for at in (0, 9, 10, 30, 49, 50, 59, 60, 99)] == [0, 9, 10, 10, 10, 16, 25, 26, 26]
    assert layout.end == 26


def plan_of(path: Path):  # type: ignore[no-untyped-def]
    with Reader(path) as reader:
        plan = plan_strip(read_elf(reader))
    assert plan is not None
    return plan


def test_permissions_are_the_originals_and_the_bytes_always_the_same(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    path.chmod(0o751)
    for name in "ab":
        write_outline(path, tmp_path / name, plan_of(path).outline)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o751
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_existing_file_is_not_written_over(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "x", patched_parts())
    (tmp_path / "y").write_text("mine")
    with pytest.raises(StorageError, match="cannot be written"):
        write_outline(path, tmp_path / "y", plan_of(path).outline)
    assert (tmp_path / "y").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="there is no limit of file sizes to be had")
def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    import resource
    import signal

    path = build_elf(tmp_path / "x", patched_parts())
    outline = plan_of(path).outline
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(StorageError):
            write_outline(path, tmp_path / "y", outline)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "y").exists()
