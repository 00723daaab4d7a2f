"""Read what is in a tar file that need not be believed: nothing is written anywhere, and links lead nowhere."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO

_LONGEST = 1 << 20
"""Bytes of a header's long name or of its pax records, which tarfile holds in memory."""
_HELD = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, *arguments: object) -> _Header:
        header: _Header = super().frombuf(*arguments)  # type: ignore[arg-type]
        if header.type in _HELD and header.size > _LONGEST:
            raise tarfile.ReadError(f"it has a header of {header.size:,} bytes")
        return header


def regular_files(stream: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield the regular files of an uncompressed tar file, in its order: name, bytes, content, to be read before the next.

    Raises ValueError, in one line, where it cannot be read; reading the content raises tarfile.TarError where that ends early.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as archive:
            last = -1
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would hold every header, of however many files
                if member.offset <= last:
                    raise ValueError("it leads back to where it was")
                last = member.offset
                content = archive.extractfile(member) if member.isreg() and member.sparse is None else None
                if content is not None:
                    yield member.name, member.size, content
    except (tarfile.TarError, OverflowError, EOFError, RecursionError) as error:
        raise ValueError(str(error)) from error
