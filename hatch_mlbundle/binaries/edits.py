"""Edits of a file that change no offset: bytes moved inside it, written anew or zeroed; and the file as it reads afterwards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, final

from hatch_mlbundle.errors import BinaryError

from .ranges import Range, union
from .reader import RangeReader, Reader


@dataclass(frozen=True, slots=True)
class Move:
    """The `size` bytes at `target` become those that the unedited file has at `source`."""

    target: int
    source: int
    size: int


@dataclass(frozen=True, slots=True)
class Literal:
    """The bytes at `target` become `data`."""

    target: int
    data: bytes

    @property
    def size(self) -> int:
        """How many bytes it writes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Zero:
    """The `size` bytes at `target` become zero."""

    target: int
    size: int


Edit: TypeAlias = Move | Literal | Zero


def clipped(edits: Sequence[Edit], start: int, end: int) -> Iterator[Edit]:
    """Yield what a range of the edited file is made of: parts of the edits (sorted, disjoint), and what stays as moves to its own place."""
    at = start
    number = max(bisect_right(edits, start, key=lambda edit: edit.target) - 1, 0)
    while at < end:
        while number < len(edits) and edits[number].target + edits[number].size <= at:
            number += 1
        edit = edits[number] if number < len(edits) else None
        if edit is None or at < edit.target:
            stop = end if edit is None else min(end, edit.target)
            yield Move(at, at, stop - at)
        else:
            stop = min(end, edit.target + edit.size)
            yield _part(edit, at, stop)
        at = stop


def _part(edit: Edit, start: int, end: int) -> Edit:
    skipped = start - edit.target
    if isinstance(edit, Move):
        return Move(start, edit.source + skipped, end - start)
    return Literal(start, edit.data[skipped : skipped + end - start]) if isinstance(edit, Literal) else Zero(start, end - start)


@final
class EditedReader(RangeReader):
    """Reads a file as it is after some edits: none of them overlap, in any order; raises BinaryError where they do, or leave the file."""

    def __init__(self, reader: Reader, edits: Sequence[Edit]) -> None:
        self.path = reader.path
        self.size = reader.size
        self.edits = tuple(sorted((each for each in edits if each.size), key=lambda edit: edit.target))
        self._reader = reader
        self._starts = [edit.target for edit in self.edits]
        for one, other in pairwise(self.edits):
            if one.target + one.size > other.target:
                raise BinaryError(f"{self.path}: edits overlap at byte {other.target}")
        for edit in self.edits:
            if not reader.holds(edit.target, edit.size) or (isinstance(edit, Move) and not reader.holds(edit.source, edit.size)):
                raise BinaryError(f"{self.path}: an edit at byte {edit.target} leaves the file")

    @property
    def zeroed(self) -> list[Range]:
        """The ranges that the edits zero."""
        return union((edit.target, edit.target + edit.size) for edit in self.edits if isinstance(edit, Zero))

    def after_zeros(self, at: int, end: int) -> int:
        """Return what a reader of any file does; bytes that an edit zeroes are not looked at."""
        for number in range(max(bisect_right(self._starts, at) - 1, 0), len(self.edits)):
            edit = self.edits[number]
            if edit.target >= end:
                break
            if isinstance(edit, Zero) and at < edit.target + edit.size:
                if (place := super().after_zeros(at, edit.target)) < edit.target:
                    return place
                at = min(end, edit.target + edit.size)
        return super().after_zeros(at, end)

    def _read_some(self, offset: int, size: int) -> bytes:
        number = bisect_right(self._starts, offset) - 1
        if number >= 0:
            edit = self.edits[number]
            skipped = offset - edit.target
            if skipped < edit.size:
                return self._of_edit(edit, skipped, min(size, edit.size - skipped))
        following = self._starts[number + 1] if number + 1 < len(self._starts) else self.size
        return self._reader.read(offset, min(size, following - offset), "unedited bytes")

    def _of_edit(self, edit: Edit, skipped: int, size: int) -> bytes:
        if isinstance(edit, Move):
            return self._reader.read(edit.source + skipped, size, "moved bytes")
        return edit.data[skipped : skipped + size] if isinstance(edit, Literal) else bytes(size)
