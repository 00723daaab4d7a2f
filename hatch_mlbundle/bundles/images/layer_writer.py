"""A layer with some of its members left out or replaced; the others go over byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import File

from .edits import LayerEdit
from .layer_plan import LayerPlan, Places
from .layer_stream import LayerStream
from .tar_format import BLOCK, HARD_LINK, PAX_GLOBAL, SYMBOLIC_LINK, TarFormatError
from .tar_header import RawHeader
from .tar_reader import Member
from .tree import plain

END = bytes(2 * BLOCK)
"""What ends a tar file."""


class UnplannedError(Exception):
    """A member's data must be taken over by another, or a name is there twice: all members have to be known first."""


class LayerWriter:
    """Writes one layer, once. What `members` and `is_changed` tell is known when all chunks were read."""

    def __init__(self, stream: LayerStream, number: int, edit: LayerEdit, plan: LayerPlan | None) -> None:
        self._stream = stream
        self._edit = edit
        self._plan = plan or LayerPlan()
        self._seen: set[str] | None = None if plan else set()
        self._places = Places(stream, number)
        self._waiting = set(edit.replace)
        self._names: dict[int, str] = {}
        self._losing: set[int] = set()
        self._copies: dict[tuple[int, str, int], str] = {}
        self.members = 0
        self.is_changed = False

    def chunks(self) -> Iterator[bytes]:
        """Yield the tar file; raises ArtifactError where the layer is damaged or not as it was, UnplannedError where it needs a plan."""
        for member, raw in self._stream.members():
            try:
                yield from self._written(member, raw)
            except TarFormatError as error:
                raise self._stream.damaged(f"has {error}") from error
        self._stream.finish()
        if self._waiting:
            raise self._stream.damaged(f"has no file {min(self._waiting)!a}, which was to be replaced")
        yield END

    def _written(self, member: Member, raw: bytes) -> Iterator[bytes]:
        if raw[156:157] == PAX_GLOBAL:
            RawHeader.of(raw)  # which refuses what would hold for members that are written anew
        number, path, holder = self._places.add(member)
        self._look_out(number, path, holder)
        heir = self._plan.heirs.get(number)
        if number not in self._plan.superseded and not self._edit.changes(path):
            yield from self._kept(member, raw, number, holder)
            return
        self.is_changed = True
        yield from _common(raw)
        if number not in self._plan.superseded and holder is not None and path in self._edit.replace:
            self._waiting -= {path}
            yield from self._replaced(path, holder, RawHeader.of(raw))
        if heir:
            yield from self._member(RawHeader.of(raw).own().renamed(heir.path), self._stream.reader.stored_chunks(), member.stored)

    def _look_out(self, number: int, path: str, holder: int | None) -> None:
        """Note by which name its data are found, and whether they lose one; raises UnplannedError where it shows that a plan is needed."""
        gone = self._edit.changes(path)
        if holder is not None and (gone or number in self._plan.superseded):
            self._losing.add(holder)
        if holder == number:
            heir = self._plan.heirs.get(number)
            self._names[number] = heir.path if heir else "" if gone else path
        if self._seen is None:
            return
        is_twice = path in self._seen and bool(path)
        if is_twice or (holder is not None and holder != number and not gone and not self._names[holder]):
            raise UnplannedError
        if holder is not None:
            self._seen.add(path)

    def _kept(self, member: Member, raw: bytes, number: int, holder: int | None) -> Iterator[bytes]:
        """Copy a member, which may be a hard link that has to name another file now, or has the data already that it named."""
        if holder is not None and holder != number:
            heir = self._plan.heirs.get(holder)
            if heir and heir.number == number:
                yield from _common(raw)
                return
            if holder in self._losing and plain(member.link) != self._names[holder]:
                self.is_changed = True
                raw = bytes(RawHeader.of(raw).with_link(HARD_LINK, self._names[holder]))
        self.members += 1
        yield raw
        yield from self._stream.reader.stored_chunks()
        yield bytes(-member.stored % BLOCK)

    def _replaced(self, path: str, holder: int, header: RawHeader) -> Iterator[bytes]:
        file, own = self._edit.replace[path], header.own()
        if file.link is not None:
            yield from self._member(own.with_link(SYMBOLIC_LINK, file.link, 0o777), iter(()), 0)
            return
        first = self._copies.setdefault((holder, file.sha256, file.mode), path)
        if first != path:
            yield from self._member(own.with_link(HARD_LINK, first, file.mode & 0o7777), iter(()), 0)
        else:
            yield from self._member(own.with_data(file.size, file.mode & 0o7777), checked(file), file.size)

    def _member(self, header: RawHeader, data: Iterator[bytes], size: int) -> Iterator[bytes]:
        self.members += 1
        yield bytes(header)
        yield from data
        yield bytes(-size % BLOCK)


def checked(file: File) -> Iterator[bytes]:
    """Yield a file's bytes; raises ArtifactError where they are not those that it says."""
    digest, size = hashlib.sha256(), 0
    for chunk in file.content.chunks():
        digest.update(chunk)
        size += len(chunk)
        if size > file.size:
            break
        yield chunk
    if (size, digest.hexdigest()) != (file.size, file.sha256):
        raise ArtifactError(file.path, "its bytes changed while it was being written; try again when nothing writes there")


def _common(raw: bytes) -> Iterator[bytes]:
    """Yield the headers for all members that stand before one that goes."""
    if len(raw) > BLOCK and (common := RawHeader.of(raw).common):
        yield common
