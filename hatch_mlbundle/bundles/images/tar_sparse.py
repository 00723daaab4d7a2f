"""Where the data of a file with holes go (GNU tar manual, "Storing Sparse Files": the old format of GNU, and 0.0, 0.1 and 1.0 of pax)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hatch_mlbundle.model import CHUNK

from .tar_format import BLOCK, TarFormatError, decimal, number

_MOST_PIECES = 1 << 16
_LONGEST_NUMBER = 19
"""Digits, as in `decimal`."""

Read: TypeAlias = Callable[[int], bytes]
"""Returns the next bytes of the tar file, exactly so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseMap:
    """The pieces (offset, length) of a file of `size` bytes that are stored, `stored` bytes in all; the rest is zeros."""

    size: int
    stored: int
    pieces: tuple[tuple[int, int], ...]

    def chunks(self, read: Read) -> Iterator[bytes]:
        """Yield the file's bytes, at most CHUNK at a time; `read` gives the stored ones."""
        position = 0
        for offset, length in self.pieces:
            yield from _zeros(offset - position)
            for start in range(0, length, CHUNK):
                yield read(min(CHUNK, length - start))
            position = offset + length
        yield from _zeros(self.size - position)


def old_map(block: bytes, stored: int, read: Read) -> SparseMap:
    """Return the map in a header of type S, and in the blocks behind it that it announces; raises TarFormatError."""
    fields, more = bytearray(block[386:482]), block[482]
    while more:
        extension = read(BLOCK)
        fields += extension[:504]
        more = extension[504]
        check_count(len(fields) // 24)
    numbers = [number(bytes(fields[start : start + 12])) for start in range(0, len(fields), 12) if fields[start]]
    return _checked(number(block[483:495]), stored, numbers)


def pax_map(records: Mapping[str, str], listed: Sequence[str], stored: int, read: Read) -> SparseMap | None:
    """Return the map that pax records give, None where they give none; raises TarFormatError.

    `listed` are the numbers of format 0.0, whose keys are there many times. Format 1.0 has the map before the data.
    """
    if records.get("GNU.sparse.major") == "1":
        numbers, taken = _leading_map(read, stored)
        return _checked(decimal(records.get("GNU.sparse.realsize", "")), stored - taken, numbers)
    if "GNU.sparse.size" not in records:
        return None
    written = records["GNU.sparse.map"].split(",") if records.get("GNU.sparse.map") else listed
    check_count(len(written) // 2)
    return _checked(decimal(records["GNU.sparse.size"]), stored, [decimal(each) for each in written])


def _leading_map(read: Read, stored: int) -> tuple[list[int], int]:
    """Return the numbers before the data, one a line, the first of them their count; and the bytes of the blocks that they take."""
    numbers, wanted, rest, taken = list[int](), 1, b"", 0
    while len(numbers) < wanted:
        if taken + BLOCK > stored or len(rest) > _LONGEST_NUMBER:
            raise TarFormatError("a file with holes whose map has no end")
        *lines, rest = (rest + read(BLOCK)).split(b"\n")
        taken += BLOCK
        if lines and not numbers:
            numbers.append(decimal(lines.pop(0)))
            check_count(numbers[0])
            wanted += 2 * numbers[0]
        numbers += map(decimal, lines[: wanted - len(numbers)])
    return numbers[1:], taken


def check_count(pieces: int) -> None:
    """Raise TarFormatError for more pieces than any file has."""
    if pieces > _MOST_PIECES:
        raise TarFormatError(f"a file of more than {_MOST_PIECES:,} pieces")


def _checked(size: int, stored: int, numbers: Sequence[int]) -> SparseMap:
    pieces = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    ends = [offset + length for offset, length in pieces]
    in_order = all(offset >= end for (offset, _), end in zip(pieces, [0, *ends[:-1]], strict=True)) if pieces else True
    if len(numbers) % 2 or not in_order or (ends and ends[-1] > size) or sum(length for _, length in pieces) != stored:
        raise TarFormatError("a file with holes whose map does not fit its size")
    return SparseMap(size=size, stored=stored, pieces=pieces)


def _zeros(size: int) -> Iterator[bytes]:
    for start in range(0, size, CHUNK):
        yield bytes(min(CHUNK, size - start))
