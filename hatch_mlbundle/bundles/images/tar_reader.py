"""Read a tar file that may be damaged or hostile, from start to end: nothing is held of it but the member at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hatch_mlbundle.model import CHUNK

from .streams import Damaged, Stream
from .tar_format import (
    BLOCK,
    DEVICES,
    FOLDER,
    HARD_LINK,
    LONG_LINK,
    LONG_NAME,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    SPARSE,
    SYMBOLIC_LINK,
    Header,
    TarFormatError,
    decimal,
    number,
    pax_records,
    read_header,
    text,
)
from .tar_sparse import SparseMap, check_count, old_map, pax_map
from .tree import Holder

_LARGEST_EXTENSION = 1 << 20
"""Bytes of a pax header or a long name that nobody needs more of; Go's archive/tar has the same bound."""
_END = bytes(BLOCK)
_RECORDS = frozenset({"path", "linkpath", "size", "uid", "gid", "mtime"})
_CAPABILITIES = "SCHILY.xattr.security.capability"
"""The record of star's that GNU tar, Go and BuildKit write for a program that may do some of what root may."""
_SPARSE_RECORDS = frozenset(f"GNU.sparse.{name}" for name in ("major", "name", "realsize", "size", "map"))
"""The pax records that count. Those of holes are about one file, and mean nothing in a header for all of them."""
_LATEST = 1 << 34
"""Seconds since 1970 that ext4 knows: the year 2514."""
_KNOWN = (REGULAR, HARD_LINK, SYMBOLIC_LINK, FOLDER, SPARSE, *DEVICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member: its name and link as they are written, `size` in bytes as unpacked, `stored` in the tar file.

    `is_capable` says that it has capabilities (capabilities(7), "File capabilities"); `holder` is its numeric owner and group, as they
    are written: where that differs, so may they. `modified` is when its bytes were made, in whole seconds since 1970.
    """

    name: str
    type: bytes
    size: int
    stored: int
    mode: int
    link: str
    is_capable: bool = False
    holder: Holder = (b"", b"")
    modified: int = 0


class TarReader:
    """The members of a tar file, which `stream` gives; raises ArtifactError where it is damaged, MissingLibraryError as the stream does."""

    def __init__(self, stream: Stream, damaged: Damaged) -> None:
        self._stream = stream
        self._damaged = damaged
        self._left = 0
        self._padding = 0
        self._sparse: SparseMap | None = None
        self._common: dict[str, str] = {}

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; what was not read of its data is passed over."""
        try:
            yield from self._members()
        except TarFormatError as error:
            raise self._damaged(f"has {error}") from error

    def chunks(self, step: int = CHUNK) -> Iterator[bytes]:
        """Yield the data of the member at hand as unpacked, once: `step` bytes at a time, or at most CHUNK of a file with holes."""
        return self._sparse.chunks(self._take) if self._sparse else self.stored_chunks(step)

    def stored_chunks(self, step: int = CHUNK) -> Iterator[bytes]:
        """Yield the data of the member at hand as they lie in the tar file, once: of a file with holes, without these."""
        while self._left:
            yield self._take(min(self._left, step))

    def _members(self) -> Iterator[Member]:
        records: dict[str, str] = {}
        listed: list[str] = []
        while (header := self._header()) is not None:
            if header.type in (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK):
                self._extend(header, records, listed)
            elif header.type in _KNOWN:
                yield self._member(header, self._common | records, listed)
                records, listed = {}, []
            else:
                raise TarFormatError(f"a member {header.name!a} of the unknown type {header.type!a}")

    def _header(self) -> Header | None:
        """Return the next header, None at the end: where there is a block of zeros, or nothing."""
        if self._stream.skip(self._left) < self._left:
            raise TarFormatError("a member that ends too early")
        block = self._stream.read(self._padding + BLOCK)[self._padding :]
        self._padding = 0
        if not block or block == _END:
            return None
        if len(block) < BLOCK:
            raise TarFormatError("a tar header that ends too early")
        header = read_header(block)
        self._expect(header.size)
        return header

    def _expect(self, size: int) -> None:
        self._left, self._padding, self._sparse = size, -size % BLOCK, None

    def _extend(self, header: Header, records: dict[str, str], listed: list[str]) -> None:
        """Take in what a header says of the member behind it, or of all of them."""
        if header.size > _LARGEST_EXTENSION:
            raise TarFormatError(f"a tar header of {header.size:,} bytes")
        data = self._take(header.size)
        if header.type == LONG_NAME:
            records["path"] = text(data)
        elif header.type == LONG_LINK:
            records["linkpath"] = text(data)
        else:
            for key, value in pax_records(data):
                if key in _RECORDS:
                    (self._common if header.type == PAX_GLOBAL else records)[key] = value
                elif header.type == PAX_GLOBAL:
                    continue
                elif key in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
                    listed.append(value)
                elif key in _SPARSE_RECORDS or key == _CAPABILITIES:
                    records[key] = value
            check_count(len(listed) // 2)

    def _member(self, header: Header, records: dict[str, str], listed: list[str]) -> Member:
        if header.type in (REGULAR, SPARSE):
            if "size" in records:
                self._expect(decimal(records["size"]))
            self._sparse = self._map_of(header, records, listed)
        stored = self._left
        return Member(
            name=records.get("GNU.sparse.name") or records.get("path") or header.name,
            type=REGULAR if header.type == SPARSE else header.type,
            size=self._sparse.size if self._sparse else stored,
            stored=stored,
            mode=header.mode,
            link=records.get("linkpath") or header.link,
            is_capable=_CAPABILITIES in records,
            holder=(records.get("uid") or header.block[108:116], records.get("gid") or header.block[116:124]),
            modified=_time_of(records.get("mtime"), header.block[136:148]),
        )

    def _map_of(self, header: Header, records: dict[str, str], listed: list[str]) -> SparseMap | None:
        if header.type == SPARSE:
            return old_map(header.block, self._left, self._exactly)
        return pax_map(records, listed, self._left, self._take)

    def _take(self, size: int) -> bytes:
        """Return so many bytes of the data at hand."""
        data = self._exactly(size)
        self._left -= size
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise self._damaged("has a member that ends too early")
        return data


def _time_of(record: str | None, field: bytes) -> int:
    """Return a member's time, 0 where it is none that a file can have: nothing is damaged by that."""
    try:
        seconds = number(field) if record is None else decimal(record.partition(".")[0])
    except TarFormatError:
        return 0
    return seconds if seconds < _LATEST else 0
