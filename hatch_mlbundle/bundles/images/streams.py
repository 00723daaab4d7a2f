"""Compressed bytes unpacked piece by piece, with the place in the compressed stream that each piece came from."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeAlias

from hatch_mlbundle.bundles.archives.zstd_stream import import_zstd
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import CHUNK

STEP = 1 << 14
"""Compressed bytes unpacked at a time: the tail that zlib leaves is copied with each file, so not too many."""

Damaged: TypeAlias = Callable[[str], ArtifactError]
"""Returns the error that says what is wrong with what is read."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGICS = (b"\x28\xb5\x2f\xfd", *(bytes([first, 0x2A, 0x4D, 0x18]) for first in range(0x50, 0x60)))
"""Of a frame, and of those to be skipped (RFC 8878, 3.1.2)."""
_GZIP = 16 + zlib.MAX_WBITS
"""What tells zlib to expect a header and a checksum of gzip (RFC 1952)."""


class Stream(ABC):
    """Bytes that can be read once, from the start."""

    @property
    @abstractmethod
    def position(self) -> int:
        """Return how many stored bytes everything that was read so far took."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they cannot be unpacked."""

    def skip(self, size: int) -> int:
        """Pass over the next `size` bytes; return how many there were."""
        left = size
        while left and (piece := self.read(min(left, CHUNK))):
            left -= len(piece)
        return size - left


class FileStream(Stream):
    """A file as it is."""

    def __init__(self, file: SharedFile) -> None:
        self._file = file
        self._position = 0

    @property
    def position(self) -> int:
        """Return where the next byte lies."""
        return self._position

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they cannot be read."""
        start = self._position
        return self._file.read_at(start, self.skip(size))

    def skip(self, size: int) -> int:
        """Pass over the next `size` bytes without reading them; return how many there were."""
        passed = min(size, self._file.size - self._position)
        self._position += passed
        return passed


def is_compressed(head: bytes) -> bool:
    """Say whether these first bytes are those of gzip or zstd."""
    return head.startswith((_GZIP_MAGIC, *_ZSTD_MAGICS))


def unpacked(raw: Iterator[bytes], damaged: Damaged) -> Stream:
    """Return what stored bytes, in pieces of any size, unpack to; their first ones tell how: gzip, zstd, or as they are.

    Raises MissingLibraryError where it takes zstd and there is none.
    """
    first = next(raw, b"")
    if first.startswith(_GZIP_MAGIC):
        return GzipStream(_steps(chain([first], raw)), damaged)
    if first.startswith(_ZSTD_MAGICS):
        return StepStream(_zstd_steps(_steps(chain([first], raw)), damaged))
    return StepStream((piece, len(piece)) for piece in chain([first], raw))


def _steps(pieces: Iterator[bytes]) -> Iterator[bytes]:
    return (piece[start : start + STEP] for piece in pieces for start in range(0, len(piece), STEP))


class GzipStream(Stream):
    """A gzip file of one or more members (RFC 1952, 2.2); zlib tells to the byte how much of it is used up."""

    def __init__(self, raw: Iterator[bytes], damaged: Damaged) -> None:
        self._raw = raw
        self._damaged = damaged
        self._inflater = zlib.decompressobj(_GZIP)
        self._rest = b""
        self._given = 0

    @property
    def position(self) -> int:
        """Return how many compressed bytes zlib has used up."""
        return self._given - len(self._rest)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they cannot be unpacked."""
        piece = self._some(size)
        if len(piece) == size or not piece:
            return piece
        pieces, left = [piece], size - len(piece)
        while left and (piece := self._some(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _some(self, size: int) -> bytes:
        """Return at least one byte and at most `size`, nothing at the end."""
        while size:
            piece = self._inflate(size)
            if piece:
                return piece
            if self._rest:
                continue  # the next member, or a header that gave nothing yet
            self._rest = next(self._raw, b"")
            self._given += len(self._rest)
            if not self._rest:
                if not self._inflater.eof:
                    raise self._damaged("has gzip data that end too early")
                break
        return b""

    def _inflate(self, size: int) -> bytes:
        if self._inflater.eof:
            if not self._rest:
                return b""
            self._inflater = zlib.decompressobj(_GZIP)
        try:
            piece = self._inflater.decompress(self._rest, size)
        except zlib.error as error:
            raise self._damaged(f"has gzip data that cannot be unpacked ({error})") from error
        self._rest = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
        return piece


class StepStream(Stream):
    """Pieces of unpacked bytes, each with the number of stored bytes that it took; within a piece, these are spread evenly."""

    def __init__(self, steps: Iterator[tuple[bytes, int]]) -> None:
        self._steps = steps
        self._piece = b""
        self._taken = 0
        self._stored = 0
        self._before = 0

    @property
    def position(self) -> int:
        """Return how many stored bytes everything that was read so far took."""
        return self._before + (self._stored * self._taken // len(self._piece) if self._piece else 0)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they cannot be unpacked."""
        pieces: list[bytes] = []
        while size and (self._taken < len(self._piece) or self._next()):
            piece = self._piece[self._taken : self._taken + size]
            self._taken += len(piece)
            size -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next(self) -> bool:
        """Go on to the next piece that is not empty; the stored bytes of empty ones (headers of frames) count with it."""
        self._before += self._stored
        self._piece, self._stored, self._taken = b"", 0, 0
        for piece, stored in self._steps:
            self._piece = piece
            self._stored += stored
            if piece:
                return True
        return False


def _zstd_steps(raw: Iterator[bytes], damaged: Damaged) -> Iterator[tuple[bytes, int]]:
    """Yield what zstd frames (RFC 8878, skippable ones too) unpack to; a block comes out when the last of its bytes is in."""
    zstd = import_zstd("reading layers packed with zstd")
    inflater, taken = zstd.ZstdDecompressor(), 0
    for rest in raw:
        taken += len(rest)
        while rest or not (inflater.eof or inflater.needs_input):
            if inflater.eof:
                inflater = zstd.ZstdDecompressor()
            try:
                piece = inflater.decompress(rest, CHUNK)
            except zstd.ZstdError as error:
                raise damaged(f"has zstd data that cannot be unpacked ({error})") from error
            rest = inflater.unused_data if inflater.eof else b""
            yield piece, taken - len(rest)
            taken = len(rest)
    if not inflater.eof:
        raise damaged("has zstd data that end too early")
    yield b"", taken
