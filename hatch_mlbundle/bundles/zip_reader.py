"""Read a zip archive that may be damaged or hostile: every header is checked before a byte of a member is believed."""

from __future__ import annotations

import hashlib
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import CHUNK
from hatch_mlbundle.units import format_size

from .member_names import clash, name_fault
from .shared_file import SharedFile
from .zip_directory import CentralEntry, read_central_directory
from .zip_format import DEFLATED, DESCRIPTOR, ENCRYPTED, LOCAL, LOCAL_SIGNATURE, PATCHED, STORED, UTF8, LocalHeader, descriptors, widen

_RAW_STEP = 1 << 18
"""Compressed bytes given to zlib at a time: what does not fit into one `CHUNK` of output is copied, so not too many."""
_LONGEST_DESCRIPTOR = 24
_ABOVE_SUSPICION = 100 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may unpack to before it counts as a zip bomb (`[tool.mlbundle] limits`).

    `max_size` is in bytes, of all members together. `max_ratio` is unpacked to packed size, of each member and of all
    together; what unpacks to 100 MB or less is harmless at any ratio. Deflate reaches 1032 to 1; libraries and trained
    models stay below 20, so only a model of zeros ever needs more than 200.
    """

    max_ratio: int = 200
    max_size: int = 50 * 10**9

    def most(self, packed: int) -> int:
        """Return the bytes that so many packed ones may unpack to, as far as `max_ratio` goes."""
        return max(_ABOVE_SUSPICION, self.max_ratio * packed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipMember:
    """One file of a zip archive, and the `Content` of the bundle's file: readable while the archive is open.

    `compressed_size` bytes from `data_offset` on are its raw data. `date` and `time` are as MS-DOS has them
    (APPNOTE.TXT 4.4.6); `mode` holds the permission bits, 0o644 where the archive has none. `unpacked`, one for all members,
    says by path where somebody put unpacked bytes.
    """

    path: str
    size: int
    compressed_size: int
    crc32: int
    method: int
    date: int
    time: int
    mode: int
    data_offset: int
    archive: SharedFile = field(repr=False, compare=False)
    unpacked: dict[str, Path] = field(repr=False, compare=False)

    def chunks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes, at most `CHUNK` at a time; raises ArtifactError where size or CRC are not as declared."""
        pieces = self.archive.chunks(self.data_offset, self.size) if self.method == STORED else self._inflated()
        crc32, left = 0, self.size
        for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise self._damaged(f"unpacks to more than the {self.size} bytes it declares")
            crc32 = zlib.crc32(piece, crc32)
            yield piece
        if left:
            raise self._damaged(f"unpacks to {left} bytes less than the {self.size} it declares")
        if crc32 != self.crc32:
            raise self._damaged("does not have the CRC-32 it declares")

    def local_path(self) -> Path | None:
        """Return where somebody put the unpacked bytes, None while they lie in the archive only."""
        return self.unpacked.get(self.path)

    def raw_chunks(self) -> Iterator[bytes]:
        """Yield the bytes as they lie in the archive, at most `CHUNK` at a time."""
        return self.archive.chunks(self.data_offset, self.compressed_size)

    def _inflated(self) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        for raw in self.archive.chunks(self.data_offset, self.compressed_size, _RAW_STEP):
            if inflater.eof:
                raise self._damaged("has data behind the end of its deflate stream")
            yield from self._inflate(inflater, raw)
        if not inflater.eof:
            raise self._damaged("has a deflate stream without an end")
        if inflater.unused_data:
            raise self._damaged("has data behind the end of its deflate stream")

    def _inflate(self, inflater: zlib._Decompress, raw: bytes) -> Iterator[bytes]:
        full = True
        while raw or full:  # a full piece may have left some output inside zlib
            try:
                piece = inflater.decompress(raw, CHUNK)
            except zlib.error as error:
                raise self._damaged(f"has a broken deflate stream ({error})") from error
            if piece:
                yield piece
            raw, full = inflater.unconsumed_tail, len(piece) == CHUNK

    def _damaged(self, problem: str) -> ArtifactError:
        return self.archive.damaged(f"member {self.path!r} {problem}")


class ZipReader:
    """A zip archive whose headers, names and sizes have been checked; raises ArtifactError from its constructor.

    `members` maps path to member, in the order of the central directory and without folders. `size` is the file's;
    `structure_size` counts its bytes that are no member's data: headers, central directory, comment, folders and gaps.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._file = SharedFile(path)
        try:
            directory = read_central_directory(self._file)
            _check_names(self._file, directory.entries)
            for entry in directory.entries:
                _check_entry(self._file, entry)
            _check_limits(self._file, directory.entries, limits)
            members = _locate_members(self._file, directory.entries, directory.offset)
        except BaseException:
            self._file.close()
            raise
        self.members: Mapping[str, ZipMember] = MappingProxyType(members)
        self.size = self._file.size
        self.structure_size = self.size - sum(member.compressed_size for member in members.values())

    def sha256(self) -> str:
        """Return the SHA-256, in hex, of the whole file."""
        digest = hashlib.sha256()
        for chunk in self._file.chunks(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file: its members cannot be read any more."""
        self._file.close()


def _check_names(file: SharedFile, entries: Sequence[CentralEntry]) -> None:
    for entry in entries:
        fault = name_fault(entry.name[:-1] if entry.is_folder else entry.name)
        if fault:
            raise file.fault(f"has a member whose name {fault}: {entry.name!r}; rename it and build again")
    problem = clash(
        [entry.name for entry in entries if not entry.is_folder],
        [entry.name[:-1] for entry in entries if entry.is_folder],
    )
    if problem:
        raise file.fault(f"{problem}; keep one of the two and build again")


def _check_entry(file: SharedFile, entry: CentralEntry) -> None:
    """Refuse what a wheel cannot have, and what we cannot read."""
    if entry.flags & ENCRYPTED:
        raise file.fault(f"member {entry.name!r} is encrypted; build the archive without a password")
    if entry.method not in (STORED, DEFLATED) or entry.flags & PATCHED:
        raise file.fault(
            f"member {entry.name!r} has compression method {entry.method}; only stored and deflate can be installed everywhere"
        )
    kind = stat.S_IFMT(entry.external_attributes >> 16)
    if kind not in (0, stat.S_IFREG) and not (entry.is_folder and kind == stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "no regular file"
        raise file.fault(f"member {entry.name!r} is {what}, which wheels cannot carry; put the file itself there")
    if entry.method == STORED and entry.size != entry.compressed_size:
        raise file.damaged(f"member {entry.name!r} is stored, yet declares two sizes")
    if entry.is_folder and entry.size:
        raise file.damaged(f"member {entry.name!r} is a folder that declares content")


def _check_limits(file: SharedFile, entries: Sequence[CentralEntry], limits: Limits) -> None:
    total = sum(entry.size for entry in entries)
    if total > limits.max_size:
        raise file.fault(
            f"unpacks to {format_size(total)}, more than the limit of {format_size(limits.max_size)}; "
            "raise `max-size` in `[tool.mlbundle] limits` if that is right"
        )
    sizes = [("it", total, sum(entry.compressed_size for entry in entries))]
    sizes += [(f"member {entry.name!r}", entry.size, entry.compressed_size) for entry in entries]
    for what, size, compressed_size in sizes:
        if size > limits.most(compressed_size):
            raise file.fault(
                f"{what} unpacks to {format_size(size)} from {format_size(compressed_size)}, as a zip bomb does; "
                f"raise `max-ratio` (now {limits.max_ratio}) in `[tool.mlbundle] limits` if that is right"
            )


def _locate_members(file: SharedFile, entries: Sequence[CentralEntry], directory_offset: int) -> dict[str, ZipMember]:
    """Find each member's data through its local header; no two may overlap, nor the central directory."""
    by_offset = sorted(entries, key=lambda entry: entry.offset)
    ends = [entry.offset for entry in by_offset[1:]] + [directory_offset]
    offsets = {entry.name: _data_offset(file, entry, end) for entry, end in zip(by_offset, ends, strict=False)}
    unpacked: dict[str, Path] = {}
    return {entry.name: _member(file, entry, offsets[entry.name], unpacked) for entry in entries if not entry.is_folder}


def _data_offset(file: SharedFile, entry: CentralEntry, end: int) -> int:
    """Return where the data begins, after checking the local header against the entry; all must fit before `end`."""
    name_start = entry.offset + LOCAL.size
    if name_start > end:
        raise file.damaged(f"member {entry.name!r} overlaps what comes after it")
    header = LocalHeader._make(LOCAL.unpack(file.read_at(entry.offset, LOCAL.size)))
    if header.signature != LOCAL_SIGNATURE:
        raise file.damaged(f"member {entry.name!r} has no local header where the central directory says")
    data_offset = name_start + header.name_length + header.extra_length
    data_end = data_offset + entry.compressed_size
    if data_end > end:
        raise file.damaged(f"member {entry.name!r} overlaps what comes after it")
    rest = file.read_at(name_start, data_offset - name_start)
    raw_name, extra = rest[: header.name_length], rest[header.name_length :]
    differing = (header.flags ^ entry.flags) & (UTF8 | ENCRYPTED)
    if raw_name != entry.raw_name or header.method != entry.method or differing:
        raise file.damaged(f"member {entry.name!r} is not called or packed the same in its local header and the central directory")
    if not _sizes_agree(header, extra, entry):
        behind = file.read_at(data_end, min(_LONGEST_DESCRIPTOR, end - data_end))
        if not (header.flags & DESCRIPTOR and _described(behind, entry)):
            raise file.damaged(f"member {entry.name!r} does not have the same sizes or CRC-32 in its header and the central directory")
    return data_offset


def _sizes_agree(header: LocalHeader, extra: bytes, entry: CentralEntry) -> bool:
    try:
        size, compressed_size = widen((header.size, header.compressed_size), extra)
    except ValueError:
        return False
    return (header.crc32, compressed_size, size) == (entry.crc32, entry.compressed_size, entry.size)


def _described(behind: bytes, entry: CentralEntry) -> bool:
    """Whether the data descriptor behind a member says what the central directory says."""
    return any(behind.startswith(form) for form in descriptors(entry.crc32, entry.compressed_size, entry.size))


def _member(file: SharedFile, entry: CentralEntry, data_offset: int, unpacked: dict[str, Path]) -> ZipMember:
    return ZipMember(
        path=entry.name,
        size=entry.size,
        compressed_size=entry.compressed_size,
        crc32=entry.crc32,
        method=entry.method,
        date=entry.date,
        time=entry.time,
        mode=(entry.external_attributes >> 16) & 0o777 or 0o644,
        data_offset=data_offset,
        archive=file,
        unpacked=unpacked,
    )
