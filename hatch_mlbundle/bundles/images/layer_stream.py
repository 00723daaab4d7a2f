"""A layer read once more, to be written anew: its members with the header blocks that they have, and whether it is still the same layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

from hatch_mlbundle.model import CHUNK

from .image import LayerPart
from .layer import Digest
from .layouts import Layout
from .streams import Damaged, Stream, unpacked
from .tar_format import BLOCK
from .tar_reader import Member, TarReader

Watch: TypeAlias = Callable[[Member, bytes], None]
"""Is given a member and the blocks before its data."""


class LayerStream(Stream):
    """The unpacked bytes of a layer, hashed as they are and as stored; `finish` reads the rest and checks them.

    `reader` gives the data of the member at hand; `head` and `size` are the first bytes and the number of those that are stored. `watch`
    sees each member that `members` gives.
    """

    def __init__(self, layout: Layout, number: int, part: LayerPart, raw: Iterator[bytes], watch: Watch | None = None) -> None:
        self._layout = layout
        self._watch = watch
        self._number = number
        self._part = part
        self._packed = hashlib.new(part.digest.algorithm if part.digest else "sha256")
        self._plain = hashlib.new(part.diff_id.algorithm)
        self._noted: list[bytes] | None = None
        self.head = b""
        self.size = 0
        self.reader = TarReader(self, self.damaged)
        self._stream = unpacked(self._hashing(raw), self.damaged)

    @property
    def position(self) -> int:
        """Return how many stored bytes everything that was read so far took."""
        return self._stream.position

    @property
    def damaged(self) -> Damaged:
        """Return what makes the error that says what is wrong with the layer."""
        return lambda problem: self._layout.fault(f"layer {self._number} {problem}; the image is damaged or was changed: build it again")

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they cannot be unpacked."""
        piece = self._stream.read(size)
        self._plain.update(piece)
        if self._noted is not None:
            self._noted.append(piece)
        return piece

    def skip(self, size: int) -> int:
        """Pass over the next `size` bytes; return how many there were."""
        noted, self._noted = self._noted, None
        passed = super().skip(size)
        self._noted = noted
        return passed

    def members(self) -> Iterator[tuple[Member, bytes]]:
        """Yield each member with the blocks before its data, which `reader` then gives."""
        self._noted, padding = [], 0
        for member in self.reader:
            raw, self._noted = b"".join(self._noted or ()), None
            if self._watch:
                self._watch(member, raw[padding:])
            yield member, raw[padding:]
            self._noted, padding = [], -member.stored % BLOCK
        self._noted = None

    def chunks(self) -> Iterator[bytes]:
        """Yield all unpacked bytes, at most CHUNK at a time."""
        while piece := self.read(CHUNK):
            yield piece

    def finish(self) -> Digest:
        """Read what is left, and return the digest of the stored bytes; raises ArtifactError where it is another layer than before."""
        while self.read(CHUNK):
            pass
        stored = Digest(algorithm=self._packed.name, hex=self._packed.hexdigest())
        plain = Digest(algorithm=self._plain.name, hex=self._plain.hexdigest())
        expected, found = (self._part.digest, stored) if self._part.digest else (self._part.diff_id, plain)
        if expected != found:
            raise self.damaged(f"should have the digest {expected}, but has {found}")
        return stored

    def _hashing(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        for piece in raw:
            self.head = self.head or piece[:BLOCK]
            self.size += len(piece)
            self._packed.update(piece)
            yield piece
