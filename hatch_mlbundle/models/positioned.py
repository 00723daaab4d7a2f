"""Read and write at a place in a file, from any number of threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.errors import ModelError

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MOVING = threading.Lock()
"""Held where the system has no reading at a place (Windows), so that two threads do not move the place under each other."""

COPIED = 4 << 20
"""Bytes copied at a time."""


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file for as long as the block runs, and give its descriptor."""
    descriptor = os.open(path, flags | _FLAGS, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_into(descriptor: int, buffer: npt.NDArray[np.uint8], offset: int) -> None:
    """Fill the buffer with the bytes at an offset; raises ModelError where there are fewer."""
    view = buffer.data
    while view:
        got = _read_some(descriptor, view, offset)
        if got == 0:
            raise ModelError("the file became shorter while it was read")
        view, offset = view[got:], offset + got


def write_from(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of the bytes at an offset: one call may write only some of them."""
    view = memoryview(data)
    while view:
        wrote = _write_some(descriptor, view, offset)
        view, offset = view[wrote:], offset + wrote


def copy_range(source: int, start: int, end: int, target: int, offset: int) -> None:
    """Copy bytes between two open files."""
    buffer = np.empty(min(COPIED, end - start), np.uint8)
    for at in range(start, end, COPIED):
        piece = buffer[: min(COPIED, end - at)]
        read_into(source, piece, at)
        write_from(target, piece.data, offset + at - start)


def _read_some(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    with _MOVING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)


def _write_some(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, view, offset)
    with _MOVING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, view)
