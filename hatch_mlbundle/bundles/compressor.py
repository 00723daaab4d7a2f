"""Make the stream that a zip archive holds for one file. A cache is another `Compressor` around this one."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Condition
from typing import IO, Protocol

import deflate as libdeflate

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Content, DiskContent, File, MemoryContent
from hatch_mlbundle.storage import storage_errors

from .deflate import BLOCK, BlockPool, deflate, deflate_identity
from .zip_format import DEFLATED, STORED

WHOLE = 1 << 25
"""Bytes of the largest file that is deflated in one piece, in memory."""

LIBDEFLATE = version("deflate")
"""The release of the distribution that carries libdeflate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """A file as it goes into a zip archive: `stream` is its raw deflate stream, or its own bytes where `method` is STORED.

    `crc32` and `size` (bytes) are of the file, `compressed_size` (bytes) is of the stream.
    """

    stream: Content
    method: int
    crc32: int
    size: int
    compressed_size: int


class Compressor(Protocol):
    """Whatever can make the stream of a file; many threads call it at once."""

    def compress(self, file: File) -> Compressed:
        """Return the file compressed; raises MlbundleError where its bytes cannot be read or the result not be written."""


class DeflateCompressor:
    """Deflates each file anew, and stores those that do not get smaller.

    A file of at most `WHOLE` bytes goes through libdeflate in one piece, which is smaller and three times as fast as zlib; a
    larger one through zlib, block by block. `level` is libdeflate's, 1 to 12; zlib has none above 9. Large streams lie in
    `folder`, which the caller empties or moves them from. Whatever the number of threads, `WHOLE` bytes of content and as
    many of results are in memory at once, and the blocks of `pool`.
    """

    def __init__(self, level: int, pool: BlockPool, folder: Path) -> None:
        self._level = level
        self._pool = pool
        self._folder = folder
        self._memory = _Budget(WHOLE)

    def compress(self, file: File) -> Compressed:
        """Deflate the file; raises ArtifactError where its bytes are not those it was planned with, StorageError on a full disk."""
        if file.size > WHOLE:
            return self._by_blocks(file)
        with storage_errors(self._folder), self._memory.holding(file.size):
            return self._whole(file)

    def _whole(self, file: File) -> Compressed:
        data = file.read()
        _check(file, len(data), hashlib.sha256(data).hexdigest())
        crc32 = zlib.crc32(data)
        stream = libdeflate.deflate_compress(data, self._level)
        if len(stream) >= len(data):
            return _stored(file, crc32)
        content = MemoryContent(bytes(stream)) if len(stream) <= BLOCK else DiskContent(self._save(stream))
        return Compressed(stream=content, method=DEFLATED, crc32=crc32, size=file.size, compressed_size=len(stream))

    def _by_blocks(self, file: File) -> Compressed:
        with storage_errors(self._folder), self._new_file() as sink:
            deflated = deflate(file.content.chunks(), sink.write, level=min(self._level, zlib.Z_BEST_COMPRESSION), pool=self._pool)
        path = Path(sink.name)
        _check(file, deflated.size, deflated.sha256)
        if deflated.compressed_size >= deflated.size:
            path.unlink()
            return _stored(file, deflated.crc32)
        size = deflated.compressed_size
        return Compressed(stream=DiskContent(path), method=DEFLATED, crc32=deflated.crc32, size=file.size, compressed_size=size)

    def _save(self, stream: bytes | bytearray) -> Path:
        with self._new_file() as sink:
            sink.write(stream)
        return Path(sink.name)

    def _new_file(self) -> IO[bytes]:
        return tempfile.NamedTemporaryFile(dir=self._folder, suffix=".deflate", delete=False)


@contextmanager
def deflate_compressor(*, level: int, workers: int, scratch: Path | None = None) -> Iterator[DeflateCompressor]:
    """Open a compressor with its own threads; streams of large files wait in a folder in `scratch` that goes with it."""
    with storage_errors(scratch or Path(tempfile.gettempdir())):
        folder = tempfile.TemporaryDirectory(prefix="mlbundle-", dir=scratch)
    with folder as path, BlockPool(workers) as pool:
        yield DeflateCompressor(level, pool, Path(path))


def compressor_identity(level: int) -> str:
    """Return what beside the content decides the streams, for cache keys: the ways, the level and the libraries' releases."""
    return f"libdeflate up to {WHOLE}: level={level} {LIBDEFLATE}; {deflate_identity(min(level, zlib.Z_BEST_COMPRESSION))}"


class _Budget:
    """A number of bytes that threads may hold together; who wants more waits."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._changed = Condition()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


def _check(file: File, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.sha256):
        raise ArtifactError(file.path, "its bytes changed while they were being packed; build again")


def _stored(file: File, crc32: int) -> Compressed:
    return Compressed(stream=file.content, method=STORED, crc32=crc32, size=file.size, compressed_size=file.size)
