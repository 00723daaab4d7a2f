"""Read ranges of a file that nobody vouches for: always bounded, never the whole of it, never mapped into memory."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import final

from hatch_mlbundle.errors import BinaryError
from hatch_mlbundle.model import CHUNK

_ZEROS = bytes(CHUNK)
MAX_TABLE = 64 << 20
"""Bytes of the largest table (headers, names, load commands) that is read at once."""


class RangeReader(ABC):
    """Reads ranges of a binary of `size` bytes; `path` names it in errors."""

    path: Path
    size: int

    def holds(self, offset: int, size: int) -> bool:
        """Say whether `size` bytes at `offset` lie inside the file."""
        return offset >= 0 and size >= 0 and offset + size <= self.size

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return `size` bytes at `offset`; raises BinaryError naming `what` where the file ends before, or `size` is absurd."""
        if size > MAX_TABLE:
            raise BinaryError(f"{self.path}: {what} of {size} bytes is larger than any real one")
        self._demand(offset, size, what)
        data = self._read_some(offset, size)
        return data if len(data) == size else b"".join(self._pieces(data, offset, size))

    def chunks(self, offset: int, size: int, what: str) -> Iterator[bytes]:
        """Yield `size` bytes at `offset` in pieces of exactly `CHUNK` bytes (the last one shorter); raises BinaryError."""
        self._demand(offset, size, what)
        for start in range(offset, offset + size, CHUNK):
            yield self.read(start, min(CHUNK, offset + size - start), what)

    def digest(self, offset: int, size: int, what: str) -> str:
        """Return the SHA-256 of a range, in hex; raises BinaryError."""
        digest = hashlib.sha256()
        for chunk in self.chunks(offset, size, what):
            digest.update(chunk)
        return digest.hexdigest()

    def is_zero(self, offset: int, size: int) -> bool:
        """Say whether a range holds nothing but zero bytes; raises BinaryError where it leaves the file."""
        return all(chunk == _ZEROS[: len(chunk)] for chunk in self.chunks(offset, size, "padding"))

    def after_zeros(self, at: int, end: int) -> int:
        """Return the place of the first byte from `at` on that is not zero, `end` where there is none before it; raises BinaryError."""
        step = 64
        while at < end:
            data = self.read(at, min(step, end - at), "padding")
            if data != _ZEROS[: len(data)]:
                return at + len(data) - len(data.lstrip(b"\0"))
            at += len(data)
            step = min(16 * step, CHUNK)
        return end

    def _pieces(self, data: bytes, offset: int, size: int) -> Iterator[bytes]:
        """Yield what was read of a range, and the rest of it."""
        end = offset + size
        while data:
            yield data
            offset += len(data)
            if offset == end:
                return
            data = self._read_some(offset, end - offset)
        raise BinaryError(f"{self.path}: the file became shorter while it was read")

    def _demand(self, offset: int, size: int, what: str) -> None:
        if not self.holds(offset, size):
            raise BinaryError(f"{self.path}: {what} (offset {offset}, {size} bytes) lies outside the file of {self.size} bytes")

    @abstractmethod
    def _read_some(self, offset: int, size: int) -> bytes:
        """Return at least one and at most `size` of the bytes at `offset`, none where there are no more."""


@final
class Reader(RangeReader):
    """An open binary of `size` bytes; a context manager. Many threads may read from it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self.fd = self._file.fileno()
        self.size = os.fstat(self.fd).st_size

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _read_some(self, offset: int, size: int) -> bytes:
        # os.pread is missing on Windows.
        if hasattr(os, "pread"):
            return os.pread(self.fd, size, offset)
        self._file.seek(offset)
        return self._file.read(size) or b""


def copy_range(source: int, target: int, size: int, *, source_offset: int, target_offset: int) -> None:
    """Copy `size` bytes between two open files, in the kernel where it can; raises OSError, BinaryError at a sudden end."""
    while size > 0:
        done = _copy_some(source, target, min(size, 64 * CHUNK), source_offset, target_offset)
        if done == 0:
            raise BinaryError("the file became shorter while it was copied")
        size, source_offset, target_offset = size - done, source_offset + done, target_offset + done


def _copy_some(source: int, target: int, size: int, source_offset: int, target_offset: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, target, size, source_offset, target_offset)
        except OSError:
            pass  # two file systems, or one that cannot: by hand, where a real fault shows again
    os.lseek(source, source_offset, os.SEEK_SET)
    os.lseek(target, target_offset, os.SEEK_SET)
    return os.write(target, os.read(source, min(size, CHUNK)))
