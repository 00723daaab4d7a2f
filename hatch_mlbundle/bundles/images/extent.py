"""Bytes that lie somewhere in a file as they are: read there, and never copied before somebody wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.model import CHUNK


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """`size` bytes of the file at `path`, from `offset` on; a Content."""

    path: Path
    offset: int = 0
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, at most CHUNK at a time; raises ArtifactError where the file cannot be read, or ends before."""
        with closing(SharedFile(self.path)) as file:
            yield from file.chunks(self.offset, self.size, CHUNK)

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes, or all of them where there are fewer; raises ArtifactError."""
        with closing(SharedFile(self.path)) as file:
            return file.read_at(self.offset, min(size, self.size))

    def local_path(self) -> Path | None:
        """Return None: the file holds other bytes, too, or goes before the content does."""
        return None
