"""Write the data of tensors one after the other into a file."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from .wire import Range, copy_range

PAGE = 4096
"""Bytes from which on an entry begins at a page, so that it can be mapped."""

_WORD = 64


class DataFile(AbstractContextManager["DataFile"]):
    """A file that data is appended to: large entries begin at pages, so that they can be mapped."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb+", buffering=0)
        self.end = 0

    def __exit__(self, *reason: object) -> None:
        self._stream.close()

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._stream.fileno()

    def start(self, size: int) -> int:
        """Return where the next entry of that size begins: an empty one at the end, since beyond it there is no file to be in."""
        if size == 0:
            return self.end
        unit = PAGE if size >= PAGE else _WORD
        return -(-self.end // unit) * unit

    def take(self, start: int, length: int) -> None:
        """Say that bytes are written there: what was written beyond goes."""
        self.end = start + length
        os.truncate(self.descriptor, self.end)

    def append(self, data: bytes) -> int:
        """Write bytes at the end, and return where they begin."""
        start = self.start(len(data))
        self._stream.seek(start)
        self._stream.write(data)
        self.end = start + len(data)
        return start

    def copy(self, source: Range) -> int:
        """Copy bytes to the end, and return where they begin."""
        start = self.start(source.length)
        self._stream.seek(start)
        copy_range(source, self._stream)
        self.end = start + source.length
        return start
