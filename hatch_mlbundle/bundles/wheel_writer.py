"""Write the new wheel: what did not change is copied as it lies in the old one, the rest is compressed anew."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hatch_mlbundle.epoch import source_date_epoch
from hatch_mlbundle.model import Bundle, File, Kind, MemoryContent

from .compressed_files import compress_files
from .compressor import Compressed, Compressor
from .member_names import clash, name_fault
from .record import format_record, own_line, record_line
from .wheel import WheelSource
from .zip_format import dos_timestamp
from .zip_reader import ZipMember
from .zip_writer import ZipEntry, ZipWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenWheel:
    """What was written: the files in the archive's order, with the new RECORD, and where the bytes went.

    `compressed_sizes` (bytes by path) and `structure_size` (headers and central directory) add up to `size`, the wheel's.
    """

    bundle: Bundle
    compressed_sizes: Mapping[str, int]
    structure_size: int
    size: int


def write_wheel(source: WheelSource, bundle: Bundle, stream: BinaryIO, *, compressor: Compressor, workers: int) -> WrittenWheel:
    """Write to `stream`, an empty file, the wheel that holds `bundle`, a changed form of the bundle that `source` has.

    The archive keeps the bundle's order but for dist-info, which comes last, and RECORD, very last (PEP 427, "Recommended
    archiver features"). Where anything changed, RECORD is made anew and signatures are left out. The bytes depend on
    source, bundle, compressor and SOURCE_DATE_EPOCH alone. Raises ArtifactError for what no wheel can be (a link, a bad
    name, no METADATA), ConfigurationError for a wrong SOURCE_DATE_EPOCH, OSError where the stream cannot be written.
    """
    files = _arranged(source, bundle)
    _check(source, files)
    stamp = dos_timestamp(source_date_epoch())
    writer = ZipWriter(stream)
    sizes: dict[str, int] = {}
    with closing(_streams(files, compressor, workers)) as streams:
        for file, packed in streams:
            if packed.size != file.size:
                raise RuntimeError(f"{file.path}: the compressor gave {packed.size} bytes for {file.size}")
            writer.add(_entry(file, packed, source.members.get(file.path), stamp), packed.stream.chunks())
            sizes[file.path] = packed.compressed_size
    writer.close()
    if not sum(sizes.values()) + writer.structure_size == writer.size == stream.tell():
        raise RuntimeError(f"{source.path.name}: members and structure do not add up to the {stream.tell()} bytes written")
    return WrittenWheel(bundle=Bundle(files), compressed_sizes=sizes, structure_size=writer.structure_size, size=writer.size)


def pack_wheel(files: Iterable[File], dist_info: str, stream: BinaryIO, *, compressor: Compressor, workers: int) -> None:
    """Write to `stream`, an empty file, a wheel of these files, which lie in no wheel yet; dist-info comes last, and RECORD is made.

    The bytes depend on the files, their order, compressor and SOURCE_DATE_EPOCH alone. Raises ConfigurationError for a wrong
    SOURCE_DATE_EPOCH, OSError where the stream cannot be written.
    """
    arranged = sorted(files, key=lambda file: file.path.startswith(f"{dist_info}/"))
    path = f"{dist_info}/RECORD"
    lines = [record_line(file.path, file.sha256, file.size) for file in arranged]
    arranged.append(_metadata(path, format_record([*lines, own_line(path)]), 0o644, dist_info))
    stamp = dos_timestamp(source_date_epoch())
    writer = ZipWriter(stream)
    with closing(compress_files(arranged, compressor, workers)) as streams:
        for file, packed in zip(arranged, streams, strict=True):
            writer.add(_entry(file, packed, None, stamp), packed.stream.chunks())
    writer.close()


def _arranged(source: WheelSource, bundle: Bundle) -> list[File]:
    """Return the files to write, in the order to write them."""
    unchanged = bundle.keys() == source.members.keys() and all(_is_own(source, file) for file in bundle.values())
    left_out = {source.record_path} if unchanged else {source.record_path, *source.signatures}
    files = [file for path, file in bundle.items() if path not in left_out]
    files.sort(key=lambda file: file.path.startswith(f"{source.dist_info}/"))
    return [*files, bundle[source.record_path] if unchanged else _record(source, files)]


def _is_own(source: WheelSource, file: File) -> bool:
    """Whether a file is still the source's own member of that path."""
    return file.content is source.members.get(file.path)


def _record(source: WheelSource, files: Sequence[File]) -> File:
    """Return RECORD of these files; the rows of unchanged ones stay as they were written."""
    lines = [source.record[file.path].line if _is_own(source, file) else record_line(file.path, file.sha256, file.size) for file in files]
    data = format_record([*lines, own_line(source.record_path)])
    return _metadata(source.record_path, data, source.members[source.record_path].mode, source.owner_of(source.record_path))


def _metadata(path: str, data: bytes, mode: int, owner: str) -> File:
    sha256, content = hashlib.sha256(data).hexdigest(), MemoryContent(data)
    return File(path=path, size=len(data), sha256=sha256, mode=mode, kind=Kind.METADATA, owner=owner, content=content)


def _check(source: WheelSource, files: Sequence[File]) -> None:
    """Refuse what could not be installed, before a byte is written."""
    for file in files:
        fault = name_fault(file.path)
        if fault:
            raise source.fault(f"cannot be given {file.path!r}: the name {fault}")
        if file.link is not None:
            raise source.fault(f"cannot be given {file.path!r}: wheels carry no symbolic links")
    paths = [file.path for file in files]
    problem = clash(paths)
    if problem:
        raise source.fault(f"cannot be changed so that it {problem}")
    for required in (f"{source.dist_info}/WHEEL", f"{source.dist_info}/METADATA"):
        if required not in paths:
            raise source.fault(f"cannot do without {required}; exclude it from what is dropped")


def _streams(files: Sequence[File], compressor: Compressor, workers: int) -> Generator[tuple[File, Compressed], None, None]:
    """Yield each file with its stream, in order: unchanged ones as they lie in the old wheel, the others compressed."""
    changed = [file for file in files if not isinstance(file.content, ZipMember)]
    with closing(compress_files(changed, compressor, workers)) as compressed:
        for file in files:
            yield file, _as_it_lies(file.content) if isinstance(file.content, ZipMember) else next(compressed)


@dataclass(frozen=True, slots=True)
class _RawStream:
    """The compressed bytes of a member of an open archive, as `Content`."""

    member: ZipMember

    def chunks(self) -> Iterator[bytes]:
        return self.member.raw_chunks()

    def local_path(self) -> Path | None:
        return None


def _as_it_lies(member: ZipMember) -> Compressed:
    return Compressed(
        stream=_RawStream(member),
        method=member.method,
        crc32=member.crc32,
        size=member.size,
        compressed_size=member.compressed_size,
    )


def _entry(file: File, packed: Compressed, original: ZipMember | None, stamp: tuple[int, int]) -> ZipEntry:
    """Return the headers' values; what was in the wheel before keeps its timestamp."""
    date, time = (original.date, original.time) if original else stamp
    return ZipEntry(
        path=file.path,
        size=packed.size,
        compressed_size=packed.compressed_size,
        crc32=packed.crc32,
        method=packed.method,
        date=date,
        time=time,
        mode=file.mode,
    )
