"""Write a smaller file of torch.save: storages that begin at multiples of 64 bytes, so that torch.load can map them into memory.

Source: caffe2/serialize/inline_container.cc (`PyTorchStreamWriter`). The records `.format_version` and `.storage_alignment` are left
out: by them torch works out the places of storages as its own writer would have laid them out, else it looks them up.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from hatch_mlbundle.bundles.zip_format import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    LOCATOR,
    LOCATOR_SIGNATURE,
    STORED,
    U16_MAX,
    U32_MAX,
    UTF8,
    CentralHeader,
    End64Record,
    EndRecord,
    LocalHeader,
    Locator,
    narrow,
    zip64_field,
)

from .torch_checkpoint import Checkpoint
from .torch_layout import StoragePlan, relaid
from .torch_pickler import write_pickle
from .torch_values import Value
from .torch_views import Chunk, ranged_chunks, row_major_chunks

ALIGNMENT = 64
"""Bytes; each storage begins at a multiple of it."""

_PADDING = 0x4246  # "FB": the extra field by which torch's own writer aligns
_EXTRA_HEADER = 4
_VERSION = 20
_VERSION_ZIP64 = 45
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
        length = len(_local_header(name, size, 0, start))
        self.stream.write(bytes(length))
        crc32 = left = 0
        for chunk in chunks:
            self.stream.write(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            left += len(chunk)
        if left != size:
            raise RuntimeError(f"{name}: {left} bytes where {size} were planned")
        self.stream.seek(start)
        self.stream.write(_local_header(name, size, crc32, start))
        self.stream.seek(0, 2)
        self.directory.append(_central_header(name, size, crc32, start))

    def close(self) -> None:
        """Write the central directory."""
        start = self.stream.tell()
        for header in self.directory:
            self.stream.write(header)
        size, count = self.stream.tell() - start, len(self.directory)
        if count >= U16_MAX or max(size, start) >= U32_MAX:
            self.stream.write(_end64(count, size, start))
        count = min(count, U16_MAX)
        self.stream.write(END.pack(*EndRecord(END_SIGNATURE, 0, 0, count, count, min(size, U32_MAX), min(start, U32_MAX), 0)))


def _local_header(name: str, size: int, crc32: int, start: int) -> bytes:
    raw_name, flags = _encoded(name)
    wide = size >= U32_MAX
    extra = zip64_field([size, size]) if wide else b""
    unpadded = start + LOCAL.size + len(raw_name) + len(extra) + _EXTRA_HEADER
    padding = -unpadded % ALIGNMENT
    extra += _PADDING.to_bytes(2, "little") + padding.to_bytes(2, "little") + b"Z" * padding
    header = LocalHeader(
        signature=LOCAL_SIGNATURE,
        version_needed=_VERSION_ZIP64 if wide else _VERSION,
        flags=flags,
        method=STORED,
        time=0,
        date=_DATE,
        crc32=crc32,
        size=U32_MAX if wide else size,
        compressed_size=U32_MAX if wide else size,
        name_length=len(raw_name),
        extra_length=len(extra),
    )
    return LOCAL.pack(*header) + raw_name + extra


def _central_header(name: str, size: int, crc32: int, start: int) -> bytes:
    raw_name, flags = _encoded(name)
    (narrow_size, compressed_size, offset), extra = narrow((size, size, start))
    version = _VERSION_ZIP64 if extra else _VERSION
    header = CentralHeader(
        signature=CENTRAL_SIGNATURE,
        version_made_by=version,
        version_needed=version,
        flags=flags,
        method=STORED,
        time=0,
        date=_DATE,
        crc32=crc32,
        compressed_size=compressed_size,
        size=narrow_size,
        name_length=len(raw_name),
        extra_length=len(extra),
        comment_length=0,
        disk=0,
        internal_attributes=0,
        external_attributes=0,
        offset=offset,
    )
    return CENTRAL.pack(*header) + raw_name + extra


def _end64(count: int, size: int, start: int) -> bytes:
    record = End64Record(
        signature=END64_SIGNATURE,
        record_size=END64.size - 12,
        version_made_by=_VERSION_ZIP64,
        version_needed=_VERSION_ZIP64,
        disk=0,
        directory_disk=0,
        disk_entries=count,
        entries=count,
        directory_size=size,
        directory_offset=start,
    )
    return END64.pack(*record) + LOCATOR.pack(*Locator(LOCATOR_SIGNATURE, 0, start + size, 1))


def _encoded(name: str) -> tuple[bytes, int]:
    return name.encode(), 0 if name.isascii() else UTF8
