"""A tree as the bytes of a tar file, the same for the same tree (POSIX.1-2001, pax, "ustar Interchange Format" and "pax Header Block").

Whatever the old ustar header can say is said there, so that every reader understands it (busybox's passes pax headers over); the rest,
names that are long or not ASCII and files of 8 GiB, by pax headers: they alone say which encoding a name has. GNU's long names do not,
and are read wrongly on Windows.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from typing import Protocol

from .tree import MemberType

_TYPES = {
    MemberType.FOLDER: tarfile.DIRTYPE,
    MemberType.FILE: tarfile.REGTYPE,
    MemberType.HARD_LINK: tarfile.LNKTYPE,
    MemberType.SYMBOLIC_LINK: tarfile.SYMTYPE,
}


class TarMember(Protocol):
    """What a tar file is made of."""

    @property
    def name(self) -> str:
        """Return the path, with `/` between its parts."""

    @property
    def type(self) -> MemberType:
        """Return what it is."""

    @property
    def size(self) -> int:
        """Return a file's size in bytes."""

    @property
    def mode(self) -> int:
        """Return the permission bits."""

    @property
    def target(self) -> str:
        """Return where a link leads (tree.py, `Member`)."""

    def chunks(self) -> Iterator[bytes]:
        """Yield a file's bytes; raises ArtifactError where they are not `size`."""


def tar_size(members: Sequence[TarMember], mtime: int) -> int:
    """Return the number of bytes that `tar_chunks` yields for these members."""
    size = sum(len(_header(member, mtime)) + _data_size(member) + _padding(member) for member in members)
    return size + _end_size(size)


def tar_chunks(members: Sequence[TarMember], mtime: int) -> Iterator[bytes]:
    """Yield the tar file that holds these members, owned by nobody and last changed at `mtime` (seconds since 1970).

    Raises ArtifactError where a file cannot be read or has changed since the tree was read.
    """
    size = 0
    for member in members:
        header = _header(member, mtime)
        yield header
        if member.type is MemberType.FILE:
            yield from member.chunks()
        yield bytes(_padding(member))
        size += len(header) + _data_size(member) + _padding(member)
    yield bytes(_end_size(size))


def _header(member: TarMember, mtime: int) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.type = _TYPES[member.type]
    info.size = _data_size(member)
    info.mode = 0o777 if member.type is MemberType.SYMBOLIC_LINK else member.mode
    info.mtime = max(mtime, 0)
    info.linkname = member.target
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except ValueError:
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _data_size(member: TarMember) -> int:
    return member.size if member.type is MemberType.FILE else 0


def _padding(member: TarMember) -> int:
    """Return how many zeros fill a file's last block of 512 bytes."""
    return -_data_size(member) % tarfile.BLOCKSIZE


def _end_size(size: int) -> int:
    """Return how many zeros end a tar file: two blocks, and what fills the last record of 10,240 bytes."""
    return 2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE
