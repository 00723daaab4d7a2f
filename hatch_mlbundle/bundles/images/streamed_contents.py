"""What files are made of, told while they stream by: GPU code by architecture, tensors by dtype. Nothing is kept but the headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from hatch_mlbundle.manifest import View
from hatch_mlbundle.model import Kind


class Watcher(Protocol):
    """Is given a file's bytes, in order."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, at most CHUNK of them."""

    def told(self) -> Mapping[View, Mapping[str, int]]:
        """Return, when all bytes were given, the parts of the file by view, as in ContentsRow; nothing where they cannot be believed."""


def watcher(path: str, kind: Kind, head: bytes, size: int) -> Watcher | None:
    """Return what is to watch a file of this name, which begins with `head`, None where there is nothing to tell of it."""
    raise NotImplementedError
