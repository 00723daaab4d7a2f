"""Carry tensors from one file into another, piece by piece, on a few threads: memory stays the same whatever the size of the file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.casting import ErrorSum
from hatch_mlbundle.models.encodings import CHUNK, Buffers, Cut, Encoding
from hatch_mlbundle.models.safetensors import Tensor

THREADS = 4
"""Threads at most: a disk feeds no more, and each has buffers of some 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A tensor to carry: how, and where the first byte of each part goes in the target."""

    tensor: Tensor
    encoding: Encoding
    places: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of an item, done: its error, None where it is exact."""

    cut: Cut
    error: ErrorSum | None


def carry(source: Path, target: Path | None, items: Sequence[Item], threads: int) -> list[list[Piece]]:
    """Write the items' parts into the target, or only measure where there is none; return the pieces of each item, in order.

    The target must be there; nothing else of it is touched. Raises ModelError where the source ends early, OSError.
    """
    jobs = [(number, cut) for number, item in enumerate(items) for cut in item.encoding.cuts(item.tensor)]
    done: list[list[Piece]] = [[] for _ in items]
    with opened(source, os.O_RDONLY) as reading, opened(target, os.O_WRONLY) if target else nullcontext(None) as writing:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(reading, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        carrier = _Carrier(reading, writing)
        for (number, cut), error in zip(jobs, _map(carrier, items, jobs, threads), strict=True):
            done[number].append(Piece(cut, error))
    return done


def worker_threads() -> int:
    """Return how many threads to carry with on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(THREADS, cores)


def read_into(descriptor: int, buffer: npt.NDArray[np.uint8], offset: int) -> None:
    """Fill the buffer with the bytes at an offset; raises ModelError where there are fewer."""
    view = buffer.data
    while view:
        got = os.preadv(descriptor, [view], offset)
        if got == 0:
            raise ModelError("the file became shorter while it was read")
        view, offset = view[got:], offset + got


def write_from(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    """Write all of the bytes at an offset: one call may write only some of them."""
    view = memoryview(data)
    while view:
        wrote = os.pwrite(descriptor, view, offset)
        view, offset = view[wrote:], offset + wrote


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file for as long as the block runs, and give its descriptor."""
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Carrier:
    """The two open files, and each thread's buffers."""

    def __init__(self, source: int, target: int | None) -> None:
        self._source = source
        self._target = target
        self._local = threading.local()

    def work(self, item: Item, cut: Cut) -> ErrorSum | None:
        """Carry one piece."""
        buffers: Buffers = self._local.__dict__.setdefault("buffers", Buffers())
        raw = buffers.take("raw", np.uint8, cut.end - cut.start)
        read_into(self._source, raw, item.tensor.start + cut.start)
        made, error = item.encoding.encode(raw, cut, item.tensor, buffers)
        if self._target is not None:
            for each in made:
                write_from(self._target, each.data.view(np.uint8).data, item.places[each.part] + each.offset)
        return error


def _map(carrier: _Carrier, items: Sequence[Item], jobs: Sequence[tuple[int, Cut]], threads: int) -> Iterator[ErrorSum | None]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mlbundle-model")
    try:
        yield from pool.map(lambda job: carrier.work(items[job[0]], job[1]), jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def copy_range(source: int, start: int, end: int, target: int, offset: int) -> None:
    """Copy bytes between two open files."""
    buffer = np.empty(min(CHUNK, end - start), np.uint8)
    for at in range(start, end, CHUNK):
        piece = buffer[: min(CHUNK, end - at)]
        read_into(source, piece, at)
        write_from(target, piece.data, offset + at - start)
