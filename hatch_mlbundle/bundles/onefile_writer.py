"""Pack a frozen bundle into one executable, which unpacks its files when it starts; what PyInstaller's EXE does, on all cores."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.storage import storage_errors

from .carchive import BINARY, DATA, SYMLINK, Entry
from .compressed_files import compress_files
from .compressor import Compressed, Compressor
from .executable import Executable
from .joined import RangeContent
from .shared_file import SharedFile
from .zip_format import STORED

LARGEST = (1 << 32) - 1
"""Bytes that an archive of PyInstaller can have: its offsets are 32 bits wide."""

_NATIVE = (Kind.ELF, Kind.PE, Kind.MACHO)
_ZLIB_HEADER = b"\x78\xda"
"""Deflate with a window of 32 KiB, compressed hard (RFC 1950, section 2.2)."""


def write_one_file(
    executable: Executable,
    plain: Bundle,
    modules: Collection[str],
    target: BinaryIO,
    *,
    compressor: Compressor,
    workers: int,
    folder: Path,
    scripts: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Write to `target`, an empty file, the one executable for a one-folder bundle.

    `plain` holds its files on disk, `modules` the paths of the modules it keeps; `folder` is an empty one for what is compressed;
    `scripts` are put in besides (`Executable.rebuilt`).
    Raises ArtifactError where a file lies outside the folder of contents, or all together are too large; OSError.
    """
    contents = executable.archive.contents_folder
    prefix = f"{contents}/" if contents else ""
    files = [plain[path] for path in sorted(plain) if path != executable.path]
    stray = next((file.path for file in files if not file.path.startswith(prefix)), None)
    if stray:
        raise ArtifactError(executable.path, f"cannot be packed into one file: {stray} lies outside of {contents}; build one folder")
    unfit = next((file for file in files if file.size > LARGEST or not _is_utf8(file.path) or not _is_utf8(file.link or "")), None)
    if unfit:
        problem = f"has {unfit.size:,} bytes, and 4 GiB are the limit" if unfit.size > LARGEST else "has a name that is no UTF-8"
        raise ArtifactError(executable.path, f"cannot be packed into one file: {unfit.path!a} {problem}; build one folder")
    spool = folder / "members"
    with storage_errors(spool), spool.open("xb") as stream:
        entries = list(_write_members(files, prefix, stream, compressor, workers))
    if spool.stat().st_size + executable.file.size > LARGEST:
        advice = "4 GiB are the limit of PyInstaller; build one folder, and let `archive` pack it"
        raise ArtifactError(executable.path, f"cannot be packed into one file of {spool.stat().st_size:,} bytes: {advice}")
    with closing(SharedFile(spool)) as packed:
        members = [(entry, RangeContent(packed, entry.offset, entry.stored)) for entry in entries]
        target.writelines(executable.rebuilt(modules, members, scripts).chunks())


def _write_members(files: Sequence[File], prefix: str, stream: BinaryIO, compressor: Compressor, workers: int) -> Iterator[Entry]:
    """Write the files one after the other, compressed where that helps, and yield their entries with offsets in the stream."""
    with closing(compress_files([file for file in files if file.link is None], compressor, workers)) as compressed:
        for file in files:
            name, offset = file.path.removeprefix(prefix), stream.tell()
            if file.link is not None:
                stored = stream.write(file.link.encode() + b"\0")
                yield Entry(name=name, type=SYMLINK, offset=offset, stored=stored, size=stored, compressed=False)
                continue
            packed = next(compressed)
            _write_zlib(file, packed, stream)
            yield Entry(
                name=name,
                type=_type_of(file),
                offset=offset,
                stored=stream.tell() - offset,
                size=file.size,
                compressed=packed.method != STORED,
            )


def _write_zlib(file: File, packed: Compressed, stream: BinaryIO) -> None:
    if packed.method != STORED:
        stream.write(_ZLIB_HEADER)
    stream.writelines(packed.stream.chunks())
    if packed.method != STORED:
        stream.write(_adler32(file).to_bytes(4, "big"))


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _type_of(file: File) -> str:
    """Return the type that gives a file its executable bit back when it is unpacked, where it has one."""
    return BINARY if file.mode & 0o111 or file.kind in _NATIVE else DATA


def _adler32(file: File) -> int:
    checksum = 1
    for chunk in file.content.chunks():
        checksum = zlib.adler32(chunk, checksum)
    return checksum
