"""Compress many files on all cores, and hand them out in order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from hatch_mlbundle.model import File

from .compressor import Compressed, Compressor

_LARGE = 1 << 22
"""Bytes of a file above which its compression starts before all others'."""


def compress_files(files: Sequence[File], compressor: Compressor, workers: int) -> Generator[Compressed, None, None]:
    """Yield each file's stream, in order, while `workers` threads compress those that follow; close it when done.

    Large files start first: one that started last would keep a single core busy at the end. Their streams wait on disk; of the
    small ones, whose streams are in memory, only the next few are in work.
    """
    large = sorted((file for file in files if file.size > _LARGE), key=lambda file: -file.size)
    small = (file for file in files if file.size <= _LARGE)
    with ThreadPoolExecutor(workers, thread_name_prefix="compress") as pool:
        started = {file.path: pool.submit(compressor.compress, file) for file in (*large, *islice(small, 2 * workers))}
        try:
            for file in files:
                packed = started.pop(file.path).result()
                for following in islice(small, 1):
                    started[following.path] = pool.submit(compressor.compress, following)
                yield packed
        finally:
            for future in started.values():
                future.cancel()
