"""What files are made of, told while they stream by: sections, GPU code by architecture, tensors by dtype. Only headers are held.

The same inspectors tell it as of files in a folder (contents/), from what is held when all bytes were given.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from hatch_mlbundle.binaries.library_pruning import Wanted
from hatch_mlbundle.contents.binaries import ElfInspector, MachoInspector, NativeInspector, PeInspector
from hatch_mlbundle.contents.inspector import Inside
from hatch_mlbundle.contents.models import gguf_inside, packed_inside, safetensors_inside
from hatch_mlbundle.contents.parts import by_size, parts_of
from hatch_mlbundle.contents.removable import EACH, removable
from hatch_mlbundle.errors import BinaryError, MlbundleError
from hatch_mlbundle.manifest import View
from hatch_mlbundle.model import Kind
from hatch_mlbundle.runtime.container import SUFFIX

from .elf_headers import ElfHeaders
from .gpu_headers import GpuHeaders
from .held_ranges import HeldRanges
from .tree import Told

_SMALL = 1 << 18
"""Bytes of a binary that is held as a whole."""
_LONGEST_JSON = 1 << 21
"""Bytes of a header in JSON, which takes up to 25 times as much memory; the largest real ones of a file have under a million."""
_LONGEST_HEADER = 1 << 24
"""Bytes of any other header: vocabularies are in it."""
_BLOB = re.compile(r"/models--[^/]+/blobs/[0-9a-f]+$")
"""A file in a cache of huggingface_hub, which only links to it give a suffix."""


class Watcher(Protocol):
    """Is given a file's bytes, in order."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, at most CHUNK of them."""

    def told(self) -> Told:
        """Return, when all bytes were given, what the file is made of; nothing where that cannot be believed."""


def watcher(path: str, kind: Kind, head: bytes, size: int, wanted: Wanted = EACH) -> Watcher | None:
    """Return what is to watch a file of this name, which begins with `head`, None where there is nothing to tell of it."""
    if kind is Kind.ELF:
        return ElfWatcher(path, head, size, wanted)
    if kind in (Kind.PE, Kind.MACHO) and size <= _SMALL:
        return BinaryWatcher(PeInspector() if kind is Kind.PE else MachoInspector(), path, size)
    suffix, length = f".{path.rpartition('.')[2].lower()}", 8 + int.from_bytes(head[:8], "little")
    if _BLOB.search(path):
        suffix = ".safetensors" if head[8:9] == b"{" and length < size else ".gguf" if kind is Kind.MODEL else ""
    if suffix == ".safetensors":
        return ModelWatcher(safetensors_inside, path, size, length) if length <= _LONGEST_JSON else None
    if suffix == SUFFIX:
        return ModelWatcher(packed_inside, path, size, _LONGEST_JSON)
    return ModelWatcher(gguf_inside, path, size, _LONGEST_HEADER) if suffix == ".gguf" else None


class BinaryWatcher:
    """Holds the headers of GPU code in a binary, wherever they are, and all of a small one."""

    def __init__(self, inspector: NativeInspector, path: str, size: int) -> None:
        self._inspector = inspector
        self._held = HeldRanges(Path(path), size)
        self._gpu = GpuHeaders(self._held)
        if size <= _SMALL:
            self._held.keep(0, size)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._held.feed(chunk)
        self._gpu.feed(chunk)

    def told(self) -> Told:
        """Return sections and GPU code; nothing where a header cannot be believed, or lies where none is held."""
        self._gpu.finish()
        self._held.finish()
        return Told(parts=_parts(lambda: self._inspector.inside(self._held), self._held.size))


class ElfWatcher(BinaryWatcher):
    """Holds all headers of an ELF file, and tells what it could lose, too."""

    def __init__(self, path: str, head: bytes, size: int, wanted: Wanted) -> None:
        super().__init__(ElfInspector(), path, size)
        self._headers = ElfHeaders(self._held, head)
        self._wanted = wanted

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        super().feed(chunk)
        self._headers.feed(chunk)

    def told(self) -> Told:
        """Return the same, and what could go; nothing of either where a header cannot be believed, or lies where none is held."""
        told = super().told()
        try:
            return replace(told, removable=removable(self._held, str(self._held.path), self._wanted))
        except BinaryError:
            return told


Inspect: TypeAlias = Callable[[BinaryIO, int, Path], Iterable[Inside]]
"""Tells of a model file, from a stream of its first bytes, its size, and its path for errors."""


class ModelWatcher:
    """Holds the first bytes of a model file, at most `most`."""

    def __init__(self, inspect: Inspect, path: str, size: int, most: int) -> None:
        self._inspect = inspect
        self._path = Path(path)
        self._size = size
        self._most = most
        self._start = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._start += chunk[: max(0, self._most - len(self._start))]

    def told(self) -> Told:
        """Return tensors by dtype; nothing where the header cannot be believed, or is longer than what is held."""
        return Told(parts=_parts(lambda: self._inspect(io.BytesIO(self._start), self._size, self._path), self._size))


def _parts(inspect: Callable[[], Iterable[Inside]], size: int) -> Mapping[View, Mapping[str, int]]:
    try:
        insides = list(inspect())
    except MlbundleError:
        return {}
    found = [(inside.view, parts_of(inside, size)) for inside in insides]
    return {view: dict(by_size(parts)) for view, parts in found if parts is not None}
