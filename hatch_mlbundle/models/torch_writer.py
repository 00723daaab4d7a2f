"""Write a smaller file of torch.save: storages that begin at multiples of 64 bytes, so that torch.load can map them into memory.

Source: caffe2/serialize/inline_container.cc (`PyTorchStreamWriter`). The records `.format_version` and `.storage_alignment` are left
out: by them torch works out the places of storages as its own writer would have laid them out, else it looks them up.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from hatch_mlbundle.bundles.zip_format import STORED
from hatch_mlbundle.bundles.zip_writer import ZipEntry, central_header, encoded_name, end_of_archive, local_header

from .torch_checkpoint import Checkpoint
from .torch_layout import StoragePlan, relaid
from .torch_pickler import write_pickle
from .torch_values import Value
from .torch_views import Chunk, ranged_chunks, row_major_chunks

ALIGNMENT = 64
"""Bytes; each storage begins at a multiple of it."""

_PADDING = 0x4246  # "FB": the extra field by which torch's own writer aligns
_EXTRA_HEADER = 4
_DATE = 0x21  # 1980-01-01

_Record: TypeAlias = tuple[str, int, Callable[[], Iterable[Chunk]]]


def write_checkpoint(source: Checkpoint, value: Value, plans: Mapping[str, StoragePlan], target: Path) -> None:
    """Write `value`, which is of `source`, with its storages as planned; the same input gives the same bytes.

    Raises ModelError where a storage's bytes do not have the CRC-32 that the source declares, OSError where `target` cannot be
    written; what was written of it by then is of no use.
    """
    with target.open("wb") as stream:
        writer = _Writer(stream)
        for name, size, chunks in _records(source, value, plans):
            writer.add(source.archive.root + name, size, chunks())
        writer.close()


def storage_chunks(source: Checkpoint, plan: StoragePlan) -> Iterator[Chunk]:
    """Yield the bytes of a new storage; raises ModelError where the old one's do not have their CRC-32."""
    chunks = source.archive.chunks(plan.before.key)
    if not any(piece.view for piece in plan.pieces):
        yield from _cut(chunks, plan)
        return
    for _ in chunks:  # all of it is checked before any of it is picked out
        pass

    def read(offset: int, size: int) -> bytes:
        return source.archive.read_at(plan.before.key, offset, size)

    at = 0
    for piece in plan.pieces:
        yield bytes(piece.at - at)
        yield from row_major_chunks(piece.view, read) if piece.view else ranged_chunks(piece.start, piece.end, read)
        at = piece.at + piece.size
    yield bytes(plan.after.nbytes - at)


def _cut(chunks: Iterable[Chunk], plan: StoragePlan) -> Iterator[Chunk]:
    """Yield the planned pieces of a stream, in one pass over all of it."""
    position = at = 0
    waiting = list(plan.pieces[::-1])
    for chunk in chunks:
        end = position + len(chunk)
        while waiting and waiting[-1].start < end:
            piece = waiting[-1]
            first, last = max(piece.start, position), min(piece.end, end)
            yield bytes(max(0, piece.at - at))
            yield chunk[first - position : last - position]
            at = piece.at + last - piece.start
            if piece.end > end:
                break
            waiting.pop()
        position = end
    yield bytes(plan.after.nbytes - at)


def _records(source: Checkpoint, value: Value, plans: Mapping[str, StoragePlan]) -> Iterator[_Record]:
    """Yield name, size and bytes of each record, in the order of torch's own writer."""

    def text(name: str, data: bytes) -> _Record:
        return name, len(data), lambda: [data]

    yield text("data.pkl", write_pickle(relaid(value, plans)))
    if source.archive.byte_order is not None:
        yield text("byteorder", source.archive.byte_order)
    for key, plan in plans.items():
        yield f"data/{key}", plan.after.nbytes, lambda plan=plan: storage_chunks(source, plan)  # type: ignore[misc]
    yield text("version", source.archive.version)


class _Writer:
    """Writes stored members to an empty, seekable file; `close` adds the central directory."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.directory: list[bytes] = []

    def add(self, name: str, size: int, chunks: Iterable[Chunk]) -> None:
        """Write one member of so many bytes; the header is written last, since it holds the CRC-32."""
        start = self.stream.tell()
        self.stream.write(bytes(len(_header(_entry(name, size, 0), start))))
        crc32 = left = 0
        for chunk in chunks:
            self.stream.write(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            left += len(chunk)
        if left != size:
            raise RuntimeError(f"{name}: {left} bytes where {size} were planned")
        entry = _entry(name, size, crc32)
        self.stream.seek(start)
        self.stream.write(_header(entry, start))
        self.stream.seek(0, 2)
        self.directory.append(central_header(entry, *encoded_name(name), start))

    def close(self) -> None:
        """Write the central directory."""
        start = self.stream.tell()
        for header in self.directory:
            self.stream.write(header)
        self.stream.write(end_of_archive(len(self.directory), self.stream.tell() - start, start))


def _entry(name: str, size: int, crc32: int) -> ZipEntry:
    return ZipEntry(path=name, size=size, compressed_size=size, crc32=crc32, method=STORED, date=_DATE, time=0, mode=0o644)


def _header(entry: ZipEntry, start: int) -> bytes:
    """Return the header of a member that begins at `start`, as long as it takes for its data to be aligned."""
    name, flags = encoded_name(entry.path)
    unpadded = start + len(local_header(entry, name, flags)) + _EXTRA_HEADER
    padding = -unpadded % ALIGNMENT
    return local_header(entry, name, flags, _PADDING.to_bytes(2, "little") + padding.to_bytes(2, "little") + b"Z" * padding)
