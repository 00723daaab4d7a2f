"""Model files by the dtypes of their tensors, named as safetensors names them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.runtime.container import SUFFIX, Entry
from hatch_mlbundle.runtime.container import read_header as read_container
from hatch_mlbundle.runtime.signpost import MAGIC, SIGN

from .inspector import HEADERS, OTHER, PADDING, Extent, Inside, Inspector

LARGEST_HEADER = 8 << 20
"""Bytes: safetensors allows more, which no file of fewer than some 50,000 tensors has, and JSON takes up to 25 times as much memory."""

_HEAD = 512
_GGUF = b"GGUF"


class SafetensorsInspector(Inspector):
    """Reads the headers of safetensors files."""

    name: ClassVar[str] = "safetensors"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[frozenset[str]] = frozenset({".safetensors"})

    def inspect(self, path: Path) -> Iterable[Inside]:
        """Yield the tensors, nothing for the signpost of a packed file; raises ModelError."""
        with path.open("rb", buffering=0) as stream:
            yield from safetensors_inside(stream, os.fstat(stream.fileno()).st_size, path)


class PackedInspector(Inspector):
    """Reads the headers of our own packed files: the dtypes are those that are stored; scales count as what they are, floats."""

    name: ClassVar[str] = "packed"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[frozenset[str]] = frozenset({SUFFIX})

    def inspect(self, path: Path) -> Iterable[Inside]:
        """Yield the tensors; raises ModelError."""
        with path.open("rb", buffering=0) as stream:
            yield from packed_inside(stream, os.fstat(stream.fileno()).st_size, path)


class TorchInspector(Inspector):
    """Reads what torch.save writes (since torch 1.6), without torch and without running anything of it: storages by their dtype.

    A storage that tensors of several dtypes look at counts as the first one's.
    """

    name: ClassVar[str] = "torch"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[frozenset[str]] = frozenset({".pt", ".pth", ".bin", ".ckpt"})

    def inspect(self, path: Path) -> Iterable[Inside]:
        """Yield the tensors, nothing for a file of another format; raises ModelError, KeptError."""
        from hatch_mlbundle.models.torch_checkpoint import open_checkpoint, tensors_in
        from hatch_mlbundle.models.torch_safetensors import DTYPES
        from hatch_mlbundle.models.torch_zip import HEAD, looks_like_archive

        if not looks_like_archive(_head(path, HEAD)):
            return
        with open_checkpoint(path) as checkpoint:
            extents: dict[str, Extent] = {}
            for tensor in tensors_in([checkpoint.value]):
                member = checkpoint.archive.storages[tensor.storage.key]
                end = member.data_offset + member.size
                extents.setdefault(tensor.storage.key, Extent(member.data_offset, end, DTYPES.get(tensor.dtype, tensor.dtype.upper())))
        yield Inside(view="tensors", extents=list(extents.values()))


class GgufInspector(Inspector):
    """Reads the headers of llama.cpp's files: tensors by ggml's own names of the types, such as `Q4_K`."""

    name: ClassVar[str] = "gguf"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[frozenset[str]] = frozenset({".gguf"})

    def inspect(self, path: Path) -> Iterable[Inside]:
        """Yield the tensors, nothing for a file of another format; raises ModelError."""
        with path.open("rb") as stream:
            yield from gguf_inside(stream, os.fstat(stream.fileno()).st_size, path)


def safetensors_inside(stream: BinaryIO, size: int, path: Path) -> Iterator[Inside]:
    """Yield what a safetensors file of `size` bytes is made of; `stream` needs to hold its header only. Raises ModelError."""
    from hatch_mlbundle.models.safetensors import read_header_of

    head = stream.read(_HEAD)
    if head.startswith(SIGN):
        return
    if int.from_bytes(head[:8], "little") > LARGEST_HEADER:
        raise ModelError(f"{path}: has a header of more than {LARGEST_HEADER} bytes")
    stream.seek(0)
    header = read_header_of(stream, size, path)
    yield Inside(view="tensors", extents=[Extent(each.start, each.end, each.dtype) for each in header.tensors], rest=HEADERS)


def packed_inside(stream: BinaryIO, size: int, path: Path) -> Iterator[Inside]:
    """Yield what a packed file of `size` bytes is made of; `stream` needs to hold its header only. Raises ModelError."""

    def read(offset: int, length: int) -> bytes:
        stream.seek(offset)
        return stream.read(length)

    if read(0, len(MAGIC)) != MAGIC:
        return
    try:
        _, entries = read_container(size, read)
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    extents = [extent for entry in entries.values() for extent in _packed_extents(entry)]
    start = min((each.start for each in extents), default=size)
    yield Inside(view="tensors", extents=[Extent(0, start, HEADERS), *extents], rest=PADDING)


def gguf_inside(stream: BinaryIO, size: int, path: Path) -> Iterator[Inside]:
    """Yield what a GGUF file of `size` bytes is made of; `stream` needs to hold its header only. Raises ModelError."""
    from .gguf import read_gguf

    if stream.read(len(_GGUF)) == _GGUF:
        start, tensors = read_gguf(stream, size, path)
        yield Inside(view="tensors", extents=[Extent(0, start, HEADERS), *tensors], rest=PADDING)


def _packed_extents(entry: Entry) -> Iterator[Extent]:
    names = {"data": entry.stored, "scale": entry.scale_dtype, "bitmap": OTHER}
    for part, (start, end) in entry.parts.items():
        yield Extent(start, end, names[part])


def _head(path: Path, size: int = _HEAD) -> bytes:
    with path.open("rb", buffering=0) as stream:
        return stream.read(size)
