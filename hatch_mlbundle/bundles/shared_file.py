"""A file that many threads read at once, each wherever it needs to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import CHUNK


class SharedFile:
    """An artifact open for reading at any position; `size` is its length in bytes when it was opened.

    Every fault that is found in it becomes an ArtifactError with its path: `fault`, or `damaged` where only a new copy helps.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            if not path.is_file():
                raise self.fault("is not a file" if path.exists() else "does not exist")
            self._stream = path.open("rb", buffering=0)
        except OSError as error:
            raise self.fault(f"cannot be read: {error.strerror}") from error
        self.size = os.fstat(self._stream.fileno()).st_size

    def close(self) -> None:
        """Close the file; later reads raise ValueError."""
        self._stream.close()

    def fault(self, problem: str) -> ArtifactError:
        """Return the error that says `problem` of this file."""
        return ArtifactError(str(self.path), problem)

    def damaged(self, problem: str) -> ArtifactError:
        """Return the error that says `problem` of this file, and that it must be built or downloaded again."""
        return self.fault(f"{problem}; the file is damaged: build or download it again")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes from `offset` on; raises ArtifactError where the file ends before."""
        pieces: list[bytes] = []
        while size > 0:
            try:
                piece = self._read_some(offset, size)
            except OSError as error:
                raise self.fault(f"cannot be read: {error.strerror}") from error
            if not piece:
                raise self.damaged(f"ends {size} bytes too early")
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return b"".join(pieces)

    def chunks(self, offset: int, size: int, step: int = CHUNK) -> Iterator[bytes]:
        """Yield `size` bytes from `offset` on, `step` at a time; raises ArtifactError where the file ends before."""
        for start in range(offset, offset + size, step):
            yield self.read_at(start, min(step, offset + size - start))

    def _read_some(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._stream.fileno(), size, offset)
        return self._seek_and_read(offset, size)

    def _seek_and_read(self, offset: int, size: int) -> bytes:
        """Do what `pread` does where there is none (Windows)."""
        with self._lock:
            self._stream.seek(offset)
            return self._stream.read(size)
