"""Content made of other content: ranges of a file, and new bytes between them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hatch_mlbundle.identify import HEAD
from hatch_mlbundle.model import CHUNK, Content, MemoryContent

from .shared_file import SharedFile

_RAW_STEP = 1 << 18


@dataclass(frozen=True, slots=True)
class RangeContent:
    """`size` bytes from `offset` on of an open file, as they are."""

    file: SharedFile = field(repr=False, compare=False)
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; raises ArtifactError where the file ends before."""
        return self.file.chunks(self.offset, self.size)

    def local_path(self) -> Path | None:
        """Return None: no file holds just these bytes."""
        return None


@dataclass(frozen=True, slots=True)
class InflatedContent:
    """What `stored` bytes of zlib format (RFC 1950) from `offset` on unpack to: at most `limit` bytes."""

    file: SharedFile = field(repr=False, compare=False)
    offset: int
    stored: int
    limit: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes; raises ArtifactError where they are damaged, or more than `limit`."""
        inflater, left = zlib.decompressobj(), self.limit
        try:
            for raw in self.file.chunks(self.offset, self.stored, _RAW_STEP):
                rest = raw
                while rest and not inflater.eof:
                    piece = inflater.decompress(rest, CHUNK)
                    rest = inflater.unconsumed_tail
                    left -= len(piece)
                    if left < 0:
                        raise self.file.damaged(f"has {self.stored} bytes at {self.offset} that unpack to more than {self.limit}")
                    yield piece
        except zlib.error as error:
            raise self.file.damaged(f"has compressed data at {self.offset} that cannot be unpacked ({error})") from error
        if not inflater.eof:
            raise self.file.damaged(f"has compressed data at {self.offset} that ends too early")

    def local_path(self) -> Path | None:
        """Return None: the bytes lie in the file compressed."""
        return None


@dataclass(frozen=True, slots=True)
class JoinedContent:
    """Pieces of content, one after the other; `size` is their bytes together."""

    pieces: Sequence[Content]
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of all pieces in order."""
        for piece in self.pieces:
            yield from piece.chunks()

    def local_path(self) -> Path | None:
        """Return None: the pieces are joined only when they are written."""
        return None


def padding(size: int) -> MemoryContent:
    """Return so many zero bytes."""
    return MemoryContent(bytes(size))


def sha256_of(content: Content) -> str:
    """Return the SHA-256 of content, in hex; reads it by chunks."""
    return examined(content)[1]


def examined(content: Content) -> tuple[int, str, bytes]:
    """Return the size in bytes, the SHA-256 in hex and the first bytes of content, all from one reading."""
    digest, size, head = hashlib.sha256(), 0, b""
    for chunk in content.chunks():
        head = head or chunk[:HEAD]
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest(), head
