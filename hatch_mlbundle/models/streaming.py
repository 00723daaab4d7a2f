"""Carry tensors from one file into another, piece by piece, on a few threads: memory stays the same whatever the size of the file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hatch_mlbundle.models.casting import ErrorSum
from hatch_mlbundle.models.encodings import CHUNK, Cut, Encoding
from hatch_mlbundle.models.positioned import opened, read_into, write_from
from hatch_mlbundle.models.safetensors import Tensor
from hatch_mlbundle.models.scratch import scratch

_AHEAD = 8 * CHUNK
"""How far ahead the system is asked to read: no thread then waits for the disk while it could compute."""

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
        carrier = _Carrier(reading, writing)
        for (number, cut), error in zip(jobs, _map(carrier, items, jobs, threads), strict=True):
            done[number].append(Piece(cut, error))
    return done


def worker_threads() -> int:
    """Return how many threads to carry with on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(THREADS, cores)


class _Carrier:
    """The two open files."""

    def __init__(self, source: int, target: int | None) -> None:
        self._source = source
        self._target = target

    def work(self, item: Item, cut: Cut) -> ErrorSum | None:
        """Carry one piece."""
        raw = scratch("raw", np.uint8, cut.end - cut.start)
        offset = item.tensor.start + cut.start
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._source, offset + _AHEAD, CHUNK, os.POSIX_FADV_WILLNEED)
        read_into(self._source, raw, offset)
        made, error = item.encoding.encode(raw, cut, item.tensor)
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
