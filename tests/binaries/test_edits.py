from __future__ import annotations

import random
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.edits import Edit, EditedReader, Literal, Move, Zero, clipped
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError


def some_file(folder: Path) -> tuple[Path, bytes]:
    data = random.Random(1).randbytes(5000)
    (folder / "f").write_bytes(data)
    return folder / "f", data


def test_the_file_reads_as_edited_wherever_one_begins(tmp_path: Path) -> None:
    path, data = some_file(tmp_path)
    edits = [Zero(300, 700), Move(100, 1500, 200), Literal(90, b"0123456789"), Move(2000, 1990, 50), Literal(4990, b"the end...")]
    expected = bytearray(data)
    expected[300:1000] = bytes(700)
    expected[100:300] = data[1500:1700]
    expected[90:100] = b"0123456789"
    expected[2000:2050] = data[1990:2040]
    expected[4990:] = b"the end..."
    with Reader(path) as reader:
        edited = EditedReader(reader, edits)
        assert edited.zeroed == [(300, 1000)]
        assert b"".join(edited.chunks(0, 5000, "all")) == expected
        for start in range(0, 5000, 37):
            assert edited.read(start, min(613, 5000 - start), "some") == expected[start : start + 613]


@pytest.mark.parametrize(
    "edits",
    [[Zero(10, 20), Literal(29, b"x")], [Zero(4990, 11)], [Move(0, 4999, 2)], [Literal(-1, b"x")]],
    ids=["overlap", "beyond the end", "from beyond the end", "before the start"],
)
def test_edits_that_make_no_sense_are_refused(tmp_path: Path, edits: list[Edit]) -> None:
    path, _ = some_file(tmp_path)
    with Reader(path) as reader, pytest.raises(BinaryError, match="edit"):
        EditedReader(reader, edits)


def test_the_first_byte_that_is_not_zero_is_that_of_the_edited_file(tmp_path: Path) -> None:
    data = bytes(100) + b"a" + bytes(99) + b"b" * 100 + bytes(100) + b"c" * 50
    (tmp_path / "f").write_bytes(data)
    edits = [Zero(90, 15), Zero(200, 60), Literal(260, b"\0\0x"), Zero(263, 37), Move(300, 310, 5), Zero(400, 30)]
    expected = bytearray(data)
    for start, end in ((90, 105), (200, 262), (263, 300), (400, 430)):
        expected[start:end] = bytes(end - start)
    expected[262:263] = b"x"
    with Reader(tmp_path / "f") as reader:
        edited = EditedReader(reader, edits)
        assert edited.read(0, 450, "all") == expected
        for start in range(450):
            for end in (start, min(start + 13, 450), 262, 263, 450):
                rest = expected[start:end].lstrip(b"\0")
                assert edited.after_zeros(start, end) == end - len(rest), (start, end)


def test_a_range_of_the_edited_file_is_made_of_parts() -> None:
    edits = [Literal(90, b"0123456789"), Move(100, 1500, 200), Zero(300, 700)]
    assert list(clipped(edits, 0, 95)) == [Move(0, 0, 90), Literal(90, b"01234")]
    assert list(clipped(edits, 95, 1100)) == [Literal(95, b"56789"), Move(100, 1500, 200), Zero(300, 700), Move(1000, 1000, 100)]
    assert list(clipped(edits, 150, 301)) == [Move(150, 1550, 150), Zero(300, 1)]
    assert list(clipped(edits, 999, 1001)) == [Zero(999, 1), Move(1000, 1000, 1)]
    assert list(clipped([], 5, 9)) == [Move(5, 5, 4)]
    assert list(clipped(edits, 40, 40)) == []
