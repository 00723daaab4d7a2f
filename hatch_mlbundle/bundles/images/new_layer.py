"""A layer of files that go on top of an image: the same files give the same tar file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from tarfile import PAX_FORMAT, USTAR_FORMAT, TarInfo

from hatch_mlbundle.epoch import source_date_epoch
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import File

from .edits import NewLayer
from .layer_tree import is_whiteout
from .layer_writer import END, checked
from .tar_format import BLOCK, FOLDER, REGULAR, SYMBOLIC_LINK, TarFormatError, decimal, number
from .tar_header import RawHeader
from .tar_reader import Member
from .tree import plain

_XATTR = "SCHILY.xattr."
"""Begins the pax record of an extended attribute (star's; Docker, containerd and Podman write it, too)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a member of an image says of a folder or file: its numeric owner and group, permission bits, extended attributes."""

    uid: int = 0
    gid: int = 0
    mode: int = 0o755
    xattrs: tuple[tuple[str, str], ...] = ()


def paths_of(layers: Iterable[NewLayer]) -> frozenset[str]:
    """Return the paths of all files and of the folders above them."""
    files = {file.path for layer in layers for file in layer.files}
    return frozenset(files | {folder for path in files for folder in _folders(path)})


class AttributeNotes:
    """What the members of a layer that is read say of the paths that are wanted."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self.found: dict[str, Attributes] = {}

    def note(self, member: Member, raw: bytes) -> None:
        """Look at a member and the blocks before its data; of a header that cannot be believed nothing is noted."""
        path = plain(member.name)
        if path in self._wanted and member.type in (FOLDER, REGULAR):
            with suppress(TarFormatError):
                self.found[path] = _attributes(RawHeader.of(raw))


def new_layer(files: Iterable[File], known: Mapping[str, Attributes]) -> Iterator[bytes]:
    """Yield the tar file of these files and the folders above them, sorted by name; raises ArtifactError where one cannot be read."""
    by_path = {file.path: file for file in files}
    folders = {folder for file in by_path for folder in _folders(file)}
    for path in sorted(by_path.keys() | folders):
        if path in by_path:
            _check_name(path)
        file, attributes = by_path.get(path), known.get(path, Attributes())
        if file is None:
            yield _header(path, FOLDER, attributes.mode, attributes)
        elif file.link is not None:
            yield _header(path, SYMBOLIC_LINK, 0o777, replace(attributes, xattrs=()), link=file.link)
        else:
            yield _header(path, REGULAR, file.mode & 0o7777, attributes, size=file.size)
            yield from checked(file)
            yield bytes(-file.size % BLOCK)
    yield END


def _header(path: str, kind: bytes, mode: int, attributes: Attributes, *, size: int = 0, link: str = "") -> bytes:
    info = TarInfo(path)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, link
    info.uid, info.gid, info.mtime = attributes.uid, attributes.gid, max(source_date_epoch(), 0)
    info.pax_headers = dict(attributes.xattrs)
    if not attributes.xattrs:
        try:
            return info.tobuf(USTAR_FORMAT, "ascii", "strict")
        except ValueError:
            pass
    return info.tobuf(PAX_FORMAT, "utf-8", "surrogateescape")


def _attributes(header: RawHeader) -> Attributes:
    records = dict(header.records)
    return Attributes(
        uid=decimal(records["uid"]) if "uid" in records else number(header.block[108:116]),
        gid=decimal(records["gid"]) if "gid" in records else number(header.block[116:124]),
        mode=number(header.block[100:108]) & 0o7777,
        xattrs=tuple(record for record in header.records if record[0].startswith(_XATTR)),
    )


def _folders(path: str) -> Iterator[str]:
    return (parent.as_posix() for parent in PurePosixPath(path).parents if parent.name)


def _check_name(path: str) -> None:
    if path != plain(path) or ".." in path.split("/") or is_whiteout(path):
        raise ArtifactError(path, "is no name that a file in an image can have; choose another")
