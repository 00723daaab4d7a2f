"""Leave what is read once, out of an archive, on disk where somebody will look at its headers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Content, Kind
from hatch_mlbundle.storage import storage_errors

_LOOKED_INTO = frozenset({Kind.ELF, Kind.PE, Kind.MACHO, Kind.MODEL})


@dataclass(frozen=True, slots=True)
class UnpackingContent:
    """The bytes of the file at `path` of a bundle, to be read once: that leaves those of a native file or a model at `place`."""

    content: Content
    path: str
    place: Path

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes; raises as `content` does, and StorageError for a full disk."""
        chunks = self.content.chunks()
        first = next(chunks, b"")
        if identify(self.path, first[:HEAD]) not in _LOOKED_INTO:
            yield first
            yield from chunks
            return
        with storage_errors(self.place), self.place.open("wb") as stream:
            for chunk in chain([first], chunks):
                stream.write(chunk)
                yield chunk

    def local_path(self) -> Path | None:
        """Return where the bytes were left, None where they were not, or not yet."""
        return self.place if self.place.exists() else None
