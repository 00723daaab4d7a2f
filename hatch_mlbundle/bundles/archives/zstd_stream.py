"""One zstd frame (RFC 8878), compressed on all cores by libzstd."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from hatch_mlbundle.errors import MissingLibraryError, MlbundleError

_JOB = 1 << 23
"""Bytes that one thread compresses at a time. Left to itself, zstd takes four windows: twice the memory, and 0.1 % less size."""

_LAST_OF_SHORT_WINDOWS = 19
"""The last level whose window fits in a job; above it each thread would begin by reading again what many jobs before it read."""

_MOST_WORKERS = 8
"""Threads at most: at the default level each takes about 70 MB, wherever it runs."""


def import_zstd(purpose: str) -> ModuleType:
    """Return the module of zstd: Python's own from 3.14 on (PEP 784), before that its backport.

    Raises MissingLibraryError where there is none; it names the `purpose` ("packing tar.zst").
    """
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise MissingLibraryError(f"{purpose} needs the library zstd; pip install 'hatch-mlbundle[archives]'") from None
    return zstd


def load_zstd() -> ModuleType:
    """Return the module of zstd, to pack with; raises MissingLibraryError where it has no threads, too: its frames are others."""
    zstd = import_zstd("packing tar.zst")
    if zstd.CompressionParameter.nb_workers.bounds()[1] < 1:
        raise MissingLibraryError("packing tar.zst needs a zstd with threads, which this Python's is not; use another build of Python")
    return zstd


def write_zstd(
    chunks: Iterable[bytes], sink: Callable[[bytes], object], *, size: int | None, level: int, window: int, workers: int
) -> None:
    """Write `chunks`, `size` bytes in all (None: who knows), to `sink` as a zstd frame with checksum.

    `level` is zstd's, 1 to 22. `window` is the binary logarithm of how far back a repetition is found, 0 leaves that to the
    level. The frame depends on those and on zstd's release alone: it is cut into jobs whatever the number of workers.
    """
    zstd = load_zstd()
    compressor = zstd.ZstdCompressor(options=_options(zstd.CompressionParameter, level, window, workers))
    compressor.set_pledged_input_size(size)
    try:
        for chunk in chunks:
            sink(compressor.compress(chunk))
        sink(compressor.flush())
    except zstd.ZstdError as error:
        raise MlbundleError(f"zstd cannot go on: {error}; a lower level or a smaller window needs less memory") from error


def _options(parameter: Any, level: int, window: int, workers: int) -> dict[int, int]:
    options = {parameter.compression_level: level, parameter.checksum_flag: 1, parameter.nb_workers: min(workers, _MOST_WORKERS)}
    if level <= _LAST_OF_SHORT_WINDOWS:
        options[parameter.job_size] = _JOB
    if window:
        options |= {parameter.window_log: window, parameter.enable_long_distance_matching: 1}
    return options
