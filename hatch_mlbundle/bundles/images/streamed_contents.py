"""What files are made of, told while they stream by: sections, GPU code by architecture, tensors by dtype. Only headers are held.

The same inspectors tell it as of files in a folder (contents/), from what is held when all bytes were given.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from hatch_mlbundle.binaries.elf_format import MAGIC, Encoding, Header
from hatch_mlbundle.contents.binaries import ElfInspector, MachoInspector, NativeInspector, PeInspector
from hatch_mlbundle.contents.inspector import Inside
from hatch_mlbundle.contents.models import gguf_inside, packed_inside, safetensors_inside
from hatch_mlbundle.contents.parts import by_size, parts_of
from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.model import Kind
from hatch_mlbundle.runtime.container import SUFFIX

from .gpu_headers import GpuHeaders
from .held_ranges import HeldRanges
from .tree import Told

_SMALL = 1 << 18
"""Bytes of a binary that is held as a whole."""
_HEAD = 1 << 12
_NAMES = 1 << 23
"""Bytes before the table of sections that are held: there linkers put the names of the sections, lld before those of the symbols."""
_LARGEST_TABLE = 1 << 22
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
        """Return, when all bytes were given, the parts of the file by view, as in ContentsRow; nothing where they cannot be believed."""


def watcher(path: str, kind: Kind, head: bytes, size: int) -> Watcher | None:
    """Return what is to watch a file of this name, which begins with `head`, None where there is nothing to tell of it."""
    if kind is Kind.ELF:
        return BinaryWatcher(ElfInspector(), path, size, _elf_headers(head) if size > _SMALL else [(0, size)])
    if kind in (Kind.PE, Kind.MACHO) and size <= _SMALL:
        return BinaryWatcher(PeInspector() if kind is Kind.PE else MachoInspector(), path, size, [(0, size)])
    suffix, length = f".{path.rpartition('.')[2].lower()}", 8 + int.from_bytes(head[:8], "little")
    if _BLOB.search(path):
        suffix = ".safetensors" if head[8:9] == b"{" and length < size else ".gguf" if kind is Kind.MODEL else ""
    if suffix == ".safetensors":
        return ModelWatcher(safetensors_inside, path, size, length) if length <= _LONGEST_JSON else None
    if suffix == SUFFIX:
        return ModelWatcher(packed_inside, path, size, _LONGEST_JSON)
    return ModelWatcher(gguf_inside, path, size, _LONGEST_HEADER) if suffix == ".gguf" else None


class BinaryWatcher:
    """Holds the headers of a binary: these ranges of it, and those of GPU code wherever they are."""

    def __init__(self, inspector: NativeInspector, path: str, size: int, ranges: Iterable[tuple[int, int]]) -> None:
        self._inspector = inspector
        self._held = HeldRanges(Path(path), size)
        self._gpu = GpuHeaders(self._held)
        for start, end in ranges:
            self._held.keep(start, end)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._held.feed(chunk)
        self._gpu.feed(chunk)

    def told(self) -> Told:
        """Return sections and GPU code; nothing where a header cannot be believed, or lies where none is held."""
        self._gpu.finish()
        self._held.finish()
        return _told(lambda: self._inspector.inside(self._held), self._held.size)


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
        return _told(lambda: self._inspect(io.BytesIO(self._start), self._size, self._path), self._size)


def _told(inspect: Callable[[], Iterable[Inside]], size: int) -> Told:
    try:
        insides = list(inspect())
    except MlbundleError:
        return {}
    found = [(inside.view, parts_of(inside, size)) for inside in insides]
    return {view: dict(by_size(parts)) for view, parts in found if parts is not None}


def _elf_headers(head: bytes) -> list[tuple[int, int]]:
    """Return where the headers of an ELF file are, with the names of its sections, which linkers put next to their table."""
    encoding = Encoding.of(head)
    if not head.startswith(MAGIC) or encoding is None or len(head) < encoding.header.size:
        return []
    header = Header(*encoding.header.unpack_from(head))
    ranges = [(0, _HEAD), (header.phoff, header.phoff + header.phnum * encoding.segment.size)]
    table = header.shnum * encoding.section.size
    if header.shoff and table <= _LARGEST_TABLE:
        ranges.append((header.shoff - _NAMES, header.shoff + table + _HEAD))
    return ranges
