"""Make the stream that a zip archive holds for one file. A cache is another `Compressor` around this one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Content, DiskContent, File, MemoryContent
from hatch_mlbundle.storage import storage_errors

from .deflate import BLOCK, BlockPool, Deflated, deflate
from .zip_format import DEFLATED, STORED


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

    `level` is zlib's, 1 to 9. Streams of files above one block lie in `folder`, which the caller empties or moves them from.
    """

    def __init__(self, level: int, pool: BlockPool, folder: Path) -> None:
        self._level = level
        self._pool = pool
        self._folder = folder

    def compress(self, file: File) -> Compressed:
        """Deflate the file; raises ArtifactError where its bytes are not those it was planned with, StorageError on a full disk."""
        compress = self._in_memory if file.size <= BLOCK else self._on_disk
        deflated, stream = compress(file)
        if (deflated.size, deflated.sha256) != (file.size, file.sha256):
            raise ArtifactError(file.path, "its bytes changed while the wheel was being written; build again")
        if deflated.compressed_size < deflated.size:
            return _compressed(deflated, stream, DEFLATED, deflated.compressed_size)
        _discard(stream)
        return _compressed(deflated, file.content, STORED, deflated.size)

    def _in_memory(self, file: File) -> tuple[Deflated, Content]:
        pieces: list[bytes] = []
        deflated = deflate(file.content.chunks(), pieces.append, level=self._level, pool=self._pool)
        return deflated, MemoryContent(b"".join(pieces))

    def _on_disk(self, file: File) -> tuple[Deflated, Content]:
        with storage_errors(self._folder), tempfile.NamedTemporaryFile(dir=self._folder, suffix=".deflate", delete=False) as sink:
            deflated = deflate(file.content.chunks(), sink.write, level=self._level, pool=self._pool)
        return deflated, DiskContent(Path(sink.name))


@contextmanager
def deflate_compressor(*, level: int, workers: int, scratch: Path | None = None) -> Iterator[DeflateCompressor]:
    """Open a compressor with its own threads; streams of large files wait in a folder in `scratch` that goes with it."""
    with storage_errors(scratch or Path(tempfile.gettempdir())):
        folder = tempfile.TemporaryDirectory(prefix="mlbundle-", dir=scratch)
    with folder as path, BlockPool(workers) as pool:
        yield DeflateCompressor(level, pool, Path(path))


def _compressed(deflated: Deflated, stream: Content, method: int, compressed_size: int) -> Compressed:
    return Compressed(stream=stream, method=method, crc32=deflated.crc32, size=deflated.size, compressed_size=compressed_size)


def _discard(stream: Content) -> None:
    path = stream.local_path()
    if path is not None:
        path.unlink()
