"""A Compressor that first asks the cache: what was deflated in an earlier build is linked in, not deflated again."""

from __future__ import annotations

import itertools
from pathlib import Path

from hatch_mlbundle.bundles.compressor import Compressed, Compressor
from hatch_mlbundle.cache import Cache, link_or_copy
from hatch_mlbundle.canonical import digest
from hatch_mlbundle.model import DiskContent, File

SMALLEST = 1 << 14
"""Bytes of a file below which deflating it again costs no more than finding it."""

_STREAM = "stream"


class CachedCompressor:
    """Wraps another compressor; `identity` is whatever decides its streams beside the content, `folder` holds those in use."""

    def __init__(self, compressor: Compressor, identity: str, cache: Cache, folder: Path) -> None:
        self._compressor = compressor
        self._identity = identity
        self._cache = cache
        self._folder = folder
        self._number = itertools.count()

    def compress(self, file: File) -> Compressed:
        """Return the file compressed, as the wrapped compressor does it."""
        if file.size < SMALLEST:
            return self._compressor.compress(file)
        key = digest(["compress", self._identity, file.sha256])
        return self._recall(key, file) or self._make(key, file)

    def _recall(self, key: str, file: File) -> Compressed | None:
        entry = self._cache.get(key)
        if entry is None:
            return None
        if _STREAM not in entry.files:
            return Compressed(stream=file.content, **entry.value)
        place = self._place()
        try:
            link_or_copy(entry.files[_STREAM], place)
        except FileNotFoundError:  # another build pruned the cache between the look and the grasp
            return None
        return Compressed(stream=DiskContent(place), **entry.value)

    def _make(self, key: str, file: File) -> Compressed:
        made = self._compressor.compress(file)
        value = {"method": made.method, "crc32": made.crc32, "size": made.size, "compressed_size": made.compressed_size}
        files = {} if made.stream is file.content else {_STREAM: self._on_disk(made)}
        self._cache.put(key, value, files)
        return made

    def _on_disk(self, made: Compressed) -> Path:
        path = made.stream.local_path()
        if path is None:
            path = self._place()
            path.write_bytes(b"".join(made.stream.chunks()))
        return path

    def _place(self) -> Path:
        return self._folder / str(next(self._number))
