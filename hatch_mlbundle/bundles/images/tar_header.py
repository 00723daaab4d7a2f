"""What stands before a member's data in a tar file, to be copied as it is or with single fields changed (tar_format.py has the sources)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from tarfile import TarInfo

from .tar_format import (
    BLOCK,
    LONG_LINK,
    LONG_NAME,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    SPARSE,
    SYMBOLIC_LINK,
    TarFormatError,
    number,
    pax_records,
    read_header,
)

_EXTENSIONS = (PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK)
_USTAR = b"ustar\0"
_OCTAL_END = 8**11
"""Bytes from which on a file's size has no room in octal."""
_HOLES = "GNU.sparse."
_ATTRIBUTES = ("SCHILY.xattr.", "SCHILY.acl.", "LIBARCHIVE.xattr.")
"""Begin the records of extended attributes and access lists (star, libarchive). Linux has no `user.` ones of symbolic links (xattr(7))."""
_ABOUT_ONE = frozenset({"path", "linkpath", "size"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHeader:
    """The blocks before a member's data: headers for all members behind them (`common`), GNU's long names, pax records, the header itself
    (`block`), and the map of a file with holes (`rest`).
    """

    common: bytes
    long_name: bytes
    long_link: bytes
    pax: bytes
    records: tuple[tuple[str, str], ...]
    block: bytes
    rest: bytes

    @classmethod
    def of(cls, raw: bytes) -> RawHeader:
        """Return the parts of these blocks; raises TarFormatError where a header for all members would have to be changed with one."""
        found = dict.fromkeys(_EXTENSIONS, b"")
        records: list[tuple[str, str]] = []
        pax, position = b"", 0
        for kind, start, end, size in _extensions(raw):
            found[kind] = found[kind] + raw[start:end] if kind == PAX_GLOBAL else raw[start:end]
            position = end
            if kind in (PAX, PAX_GLOBAL):
                listed = list(pax_records(raw[start + BLOCK : start + BLOCK + size]))
                if kind == PAX:
                    pax = raw[start : start + BLOCK]
                    records += listed
                elif not _ABOUT_ONE.isdisjoint(key for key, _ in listed):
                    raise TarFormatError("a pax header that gives all members one name, link or size")
        return cls(
            common=found[PAX_GLOBAL],
            long_name=found[LONG_NAME],
            long_link=found[LONG_LINK],
            pax=pax,
            records=tuple(records),
            block=raw[position : position + BLOCK],
            rest=raw[position + BLOCK :],
        )

    def __bytes__(self) -> bytes:
        return b"".join((self.common, self.long_link, self.long_name, _pax_header(self.pax, self.records), self.block, self.rest))

    def own(self) -> RawHeader:
        """Return the header without those that are for other members, too."""
        return replace(self, common=b"")

    def renamed(self, name: str) -> RawHeader:
        """Return the header of the same member by another name."""
        if any(key == f"{_HOLES}name" for key, _ in self.records):
            records = tuple((key, name if key == f"{_HOLES}name" else value) for key, value in self.records)
            return replace(self, records=records)
        encoded = _encoded(name)
        block = _with(self.block, 0, encoded[:100].ljust(100, b"\0"))
        if block[257:263] == _USTAR:
            block = _with(block, 345, bytes(155))
        records = _without(self.records, "path") + ((("path", name),) if len(encoded) > 100 else ())
        return replace(self, long_name=b"", records=records, block=block)

    def with_data(self, size: int, mode: int) -> RawHeader:
        """Return the header of a regular file of `size` bytes without holes in the member's place; owner, time and attributes stay."""
        plain = self._without_holes()
        records = _without(plain.records, "linkpath", "size") + ((("size", str(size)),) if size >= _OCTAL_END else ())
        block = _with(plain.block, 124, b"%011o\0" % (size if size < _OCTAL_END else 0))
        block = _with(_with(block, 156, REGULAR), 157, bytes(100))
        return replace(plain, long_link=b"", records=records, block=_with_mode(block, mode))

    def with_link(self, kind: bytes, target: str, mode: int | None = None) -> RawHeader:
        """Return the header of a link of this type in the member's place, with its permission bits where `mode` is None.

        A symbolic link has no extended attributes.
        """
        plain = self._without_holes()
        encoded = _encoded(target)
        records = _without(plain.records, "linkpath", "size") + ((("linkpath", target),) if len(encoded) > 100 else ())
        if kind == SYMBOLIC_LINK:
            records = tuple(record for record in records if not record[0].startswith(_ATTRIBUTES))
        block = plain.block if mode is None else _with_mode(plain.block, mode)
        block = _with(_with(block, 124, b"%011o\0" % 0), 156, kind)
        return replace(plain, long_link=b"", records=records, block=_with(block, 157, encoded[:100].ljust(100, b"\0")))

    def _without_holes(self) -> RawHeader:
        name = next((value for key, value in self.records if key == f"{_HOLES}name"), None)
        records = tuple(record for record in self.records if not record[0].startswith(_HOLES))
        block = _with(self.block, 386, bytes(109)) if self.block[156:157] == SPARSE else self.block
        plain = replace(self, records=records, block=block, rest=b"")
        return plain if name is None else plain.renamed(name)


def _extensions(raw: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield each header before the member's own: its type, where it begins and ends, and the bytes of its data."""
    position = 0
    while True:
        header = read_header(raw[position : position + BLOCK])
        if header.type not in _EXTENSIONS:
            return
        end = position + BLOCK + header.size + -header.size % BLOCK
        yield header.type, position, end, header.size
        position = end


def _without(records: tuple[tuple[str, str], ...], *keys: str) -> tuple[tuple[str, str], ...]:
    return tuple(record for record in records if record[0] not in keys)


def _pax_header(block: bytes, records: tuple[tuple[str, str], ...]) -> bytes:
    """Return a pax header with these records, in `block` where there was one before; nothing where there are none."""
    if not records:
        return b""
    data = b"".join(_record(key, value) for key, value in records)
    if not block:
        info = TarInfo("././@PaxHeader")
        info.type = PAX
        block = info.tobuf()
    return _with(block, 124, b"%011o\0" % len(data)) + data + bytes(-len(data) % BLOCK)


def _record(key: str, value: str) -> bytes:
    """Return `LENGTH KEY=VALUE\\n`, whose length counts its own digits (POSIX.1-2001, pax, "pax Extended Header")."""
    body = b" " + _encoded(key) + b"=" + _encoded(value) + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _with_mode(block: bytes, mode: int) -> bytes:
    return block if number(block[100:108]) & 0o7777 == mode else _with(block, 100, b"%07o\0" % mode)


def _with(block: bytes, start: int, field: bytes) -> bytes:
    """Return a header with another field, and the checksum that fits."""
    block = block[:start] + field + block[start + len(field) :]
    total = sum(block[:148]) + 256 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]
