"""A tree as a zip archive, its links and modes as Info-ZIP's unzip and Unix readers of zip know them."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hatch_mlbundle.bundles.compressed_files import compress_files
from hatch_mlbundle.bundles.compressor import Compressed, deflate_compressor
from hatch_mlbundle.bundles.folder_scan import scan_file
from hatch_mlbundle.bundles.member_names import name_fault
from hatch_mlbundle.bundles.zip_format import STORED, dos_timestamp
from hatch_mlbundle.bundles.zip_writer import Sink, ZipEntry, ZipWriter
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import File, MemoryContent

from .tree import Member, MemberType

_WITH_DATA = (MemberType.FILE, MemberType.HARD_LINK)


def check_names(members: Sequence[Member]) -> None:
    """Raise ArtifactError for a name that readers of zip archives refuse or change."""
    for member in members:
        fault = name_fault(member.name)
        if fault:
            raise ArtifactError(str(member.place), f"cannot go into a zip archive: its name {fault}; rename it")


def write_zip(
    members: Sequence[Member],
    stream: Sink,
    *,
    level: int,
    mtime: int,
    workers: int,
    advance: Callable[[int], object],
    scratch: Path | None = None,
) -> None:
    """Write to `stream`, an empty file, the zip archive that holds these members, deflated at libdeflate's `level`, 1 to 12.

    Every hard link becomes a file of its own. `mtime` is in seconds since 1970; `advance` hears of each member's bytes; streams
    of large files wait in `scratch`. Raises ArtifactError where a file cannot be read or has changed since the tree was read.
    """
    stamp = dos_timestamp(mtime)
    writer = ZipWriter(stream)
    with ThreadPoolExecutor(workers, thread_name_prefix="hash") as pool:
        files = list(pool.map(_scanned, [member for member in members if member.type in _WITH_DATA]))
    with (
        deflate_compressor(level=level, workers=workers, scratch=scratch) as compressor,
        closing(compress_files(files, compressor, workers)) as compressed,
    ):
        for member in members:
            packed = next(compressed) if member.type in _WITH_DATA else _without_file(member)
            writer.add(_entry(member, packed, stamp), packed.stream.chunks())
            advance(packed.size)
    writer.close()


def _scanned(member: Member) -> File:
    file, stamp = scan_file(member.place.parent, member.place.name, {})
    if file.link is not None or stamp != member.stamp:
        raise ArtifactError(str(member.place), "changed while it was being packed; pack again when nothing writes there")
    return replace(file, path=member.name)


def _without_file(member: Member) -> Compressed:
    """Return what the archive holds for a folder, which is nothing, and for a symbolic link, its target."""
    data = member.target.encode()
    return Compressed(stream=MemoryContent(data), method=STORED, crc32=zlib.crc32(data), size=len(data), compressed_size=len(data))


def _entry(member: Member, packed: Compressed, stamp: tuple[int, int]) -> ZipEntry:
    date, time = stamp
    types = {MemberType.FOLDER: stat.S_IFDIR, MemberType.SYMBOLIC_LINK: stat.S_IFLNK}
    return ZipEntry(
        path=f"{member.name}/" if member.type is MemberType.FOLDER else member.name,
        size=packed.size,
        compressed_size=packed.compressed_size,
        crc32=packed.crc32,
        method=packed.method,
        date=date,
        time=time,
        mode=0o777 if member.type is MemberType.SYMBOLIC_LINK else member.mode,
        type=types.get(member.type, stat.S_IFREG),
    )
