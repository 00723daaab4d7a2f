"""Read what is in a tar file that need not be believed: nothing is written anywhere, and links lead nowhere."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO


def regular_files(stream: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield the regular files of an uncompressed tar file, in its order: name, bytes, content, to be read before the next.

    Raises ValueError, in one line, where it cannot be read; reading the content raises tarfile.TarError where that ends early.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            last = -1
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would hold every header, of however many files
                if member.offset <= last:
                    raise ValueError("it leads back to where it was")
                last = member.offset
                content = archive.extractfile(member) if member.isreg() and member.sparse is None else None
                if content is not None:
                    yield member.name, member.size, content
    except (tarfile.TarError, OverflowError, EOFError) as error:
        raise ValueError(str(error)) from error
