"""Of a file that streams by, the few ranges that its headers are in."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from hatch_mlbundle.binaries.reader import RangeReader
from hatch_mlbundle.errors import BinaryError

MOST_BYTES = 36 << 20
"""Bytes of all ranges that are announced of a file: somewhat more than all tables of a real one together take at most."""
MOST_RANGES = 1 << 9
"""Ranges that are announced of a file; there are some ten of a real one."""


class HeldRanges(RangeReader):
    """The ranges of a file of `size` bytes that are held while it streams by; to read any other raises BinaryError.

    `keep` announces a range, `feed` fills it; `hold` and `hold_zeros` are for small ranges that somebody else found.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._position = 0
        self._kept: list[tuple[int, int, bytearray]] = []
        self._room = MOST_BYTES
        self._small: dict[int, bytes] = {}
        self._zeros: dict[int, int] = {}
        self._starts: tuple[list[int], list[int]] = [], []

    @property
    def count(self) -> int:
        """The number of small ranges."""
        return len(self._small) + len(self._zeros)

    def keep(self, start: int, end: int) -> None:
        """Hold the bytes from `start` to `end`, as far as they are still to come; nothing of them where that is too much of a file."""
        start, end = max(start, self._position), min(end, self.size)
        if start < end and end - start <= self._room and len(self._kept) < MOST_RANGES:
            self._room -= end - start
            self._kept.append((start, end, bytearray()))

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        begin, self._position = self._position, self._position + len(chunk)
        for start, end, data in self._kept:
            if begin < end and start < self._position:
                data += chunk[max(0, start - begin) : end - begin]

    def hold(self, start: int, data: bytes) -> None:
        """Hold a few bytes that begin at `start`."""
        self._small[start] = data

    def hold_zeros(self, start: int, end: int) -> None:
        """Hold that all bytes from `start` to `end` are zero."""
        if start < end:
            self._zeros[start] = max(end, self._zeros.get(start, end))

    def finish(self) -> None:
        """Say that all is held; before, only ranges that were announced can be read."""
        self._starts = sorted(self._small), sorted(self._zeros)

    def is_zero(self, offset: int, size: int) -> bool:
        """Say whether a range is held and holds nothing but zero bytes; raises BinaryError where it leaves the file."""
        try:
            return super().is_zero(offset, size)
        except BinaryError:
            self._demand(offset, size, "padding")
            return False

    def after_zeros(self, at: int, end: int) -> int:
        """Return where the zero bytes end that are held and begin at `at` or before; `at` where there are none."""
        starts = self._starts[1]
        index = bisect_right(starts, at) - 1
        return at if index < 0 else max(at, min(self._zeros[starts[index]], end))

    def _read_some(self, offset: int, size: int) -> bytes:
        for start, end, data in self._kept:
            if start <= offset < end:
                return bytes(data[offset - start : offset - start + size])
        starts = self._starts[0]
        index = bisect_right(starts, offset) - 1
        piece = self._small[starts[index]][offset - starts[index] :][:size] if index >= 0 else b""
        if size and not piece:
            raise BinaryError(f"{self.path}: what lies at byte {offset} is not held while an image streams by")
        return piece
