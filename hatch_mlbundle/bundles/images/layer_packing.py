"""Pack the tar file of a layer: gzip on all cores, zstd, or as it is; the same bytes whatever the number of threads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import deflate as libdeflate

from hatch_mlbundle.bundles.archives.zstd_stream import write_zstd
from hatch_mlbundle.bundles.deflate import BlockPool
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.image_settings import ImageSettings, LayerCompression
from hatch_mlbundle.storage import storage_errors

from .extent import Extent
from .layer import Digest
from .streams import is_compressed

_LEVELS: dict[LayerCompression, int] = {"gzip": 6, "zstd": 19, "none": 0}
"""Used where the settings have the level 0."""
_HIGHEST: dict[LayerCompression, int] = {"gzip": 9, "zstd": 22}
_PIECE = 1 << 20
"""Bytes that are packed at a time: with gzip, each piece is a member of its own, as in eStargz layers."""
_GZIP = b"\x1f\x8b"
_SUFFIXES: dict[LayerCompression, str] = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}


def suffix_of(head: bytes) -> str:
    """Return what ends the media type of a layer whose stored bytes begin so."""
    packing: LayerCompression = "none" if not is_compressed(head) else "gzip" if head.startswith(_GZIP) else "zstd"
    return _SUFFIXES[packing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer as it is stored: `suffix` ends its media type (`+gzip`, `+zstd`, or nothing)."""

    digest: Digest
    diff_id: Digest
    extent: Extent
    suffix: str


class BlobFolder:
    """Files of a folder that get their names when their bytes are known; `told` is the place that an error names."""

    def __init__(self, folder: Path, told: Path) -> None:
        self._folder = folder
        self._told = told
        self._numbers = count()

    @contextmanager
    def new(self) -> Iterator[BinaryIO]:
        """Open a new file, which goes where the body raises; raises StorageError where the disk refuses."""
        path = self._folder / f"layer-{next(self._numbers)}"
        with storage_errors(self._told), path.open("xb") as stream:
            try:
                yield stream
            except BaseException:
                path.unlink()
                raise


class LayerPacker:
    """Packs layers into files, for many threads at once; of zstd, which has threads and much memory of its own, one by one."""

    def __init__(self, settings: ImageSettings, blobs: BlobFolder, workers: int, blocks: BlockPool) -> None:
        self._compression = settings.compression
        self._level = settings.level or _LEVELS[settings.compression]
        _check_level(self._compression, self._level)
        self._blobs = blobs
        self._workers = workers
        self._blocks = blocks
        self._one = Lock()

    def pack(self, chunks: Iterable[bytes]) -> Packed:
        """Write a layer; raises as `chunks` do, and StorageError. Nothing is left of one that fails."""
        with self._blobs.new() as stream:
            plain, stored = hashlib.sha256(), _Hashing(stream)
            self._write(_hashed(chunks, plain), stored)
        return Packed(
            digest=Digest(algorithm="sha256", hex=stored.digest.hexdigest()),
            diff_id=Digest(algorithm="sha256", hex=plain.hexdigest()),
            extent=Extent(path=Path(stream.name), size=stored.size),
            suffix=_SUFFIXES[self._compression],
        )

    def _write(self, chunks: Iterable[bytes], sink: _Hashing) -> None:
        if self._compression == "gzip":
            for member in self._blocks.in_order(partial(_gzip_member, piece, self._level) for piece in chunks):
                sink.write(member)
        elif self._compression == "zstd":
            with self._one:
                write_zstd(chunks, sink.write, size=None, level=self._level, window=0, workers=self._workers)
        else:
            for chunk in chunks:
                sink.write(chunk)


def _check_level(compression: LayerCompression, level: int) -> None:
    highest = _HIGHEST.get(compression)
    if highest and not 1 <= level <= highest:
        raise ConfigurationError(
            [f"[tool.mlbundle.image] level is {level}; {compression} has those from 1 to {highest}, and 0 for the usual one"]
        )


class _Hashing:
    """A file, and what was written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        self._stream.write(data)


def _hashed(chunks: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield the same bytes, `_PIECE` at a time; the last piece is shorter, or the only one and empty."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) > _PIECE:
            piece = bytes(buffer[:_PIECE])
            del buffer[:_PIECE]
            digest.update(piece)
            yield piece
    digest.update(buffer)
    yield bytes(buffer)


def _gzip_member(data: bytes, level: int) -> bytes:
    """Return a gzip member (RFC 1952, 2.2) without name and time: a third of zlib's time, and smaller, as a whole file cannot be had."""
    return bytes(libdeflate.gzip_compress(data, level))
