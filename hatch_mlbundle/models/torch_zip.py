"""The zip archive that torch.save writes: its pickle, its storages and where their bytes lie, believing nothing.

Source: torch/serialization.py (`_save`) and caffe2/serialize/inline_container.cc: all members lie in one folder and are stored, not
compressed; `data.pkl` is the pickle, `data/KEY` are the storages' bytes, `version` and `byteorder` are short texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.zip_format import LOCAL, LOCAL_SIGNATURE, STORED, LocalHeader
from hatch_mlbundle.bundles.zip_reader import Limits, ZipMember, ZipReader
from hatch_mlbundle.errors import ArtifactError, KeptError, ModelError

LARGEST_PICKLE = 64 << 20
"""Bytes of the largest `data.pkl` that is read: it holds no numbers of tensors."""

HEAD = 4096
"""Bytes from a file's start by which it is told what it is."""

_LARGEST_RECORD = 1000
_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_PICKLE = "data.pkl"


class NotTorchError(KeptError):
    """A sound zip archive that has nothing to do with torch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchArchive:
    """An open file of torch.save: `root` is the folder of its members, `storages` are by their keys.

    `version` is torch's version of the format, and `byte_order` of the storages, None where the file does not say it.
    """

    path: Path
    root: str
    pickle: bytes
    storages: Mapping[str, ZipMember]
    version: bytes
    byte_order: bytes | None

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield a storage's bytes; raises ModelError where its size or CRC-32 is not as declared."""
        try:
            yield from self.storages[key].chunks()
        except ArtifactError as error:
            raise ModelError(f"{self.path}: {error.problem}") from error

    def read_at(self, key: str, offset: int, size: int) -> bytes:
        """Return `size` bytes of a storage from `offset` on, unchecked; raises ModelError where it is shorter."""
        member = self.storages[key]
        if offset + size > member.size:
            raise ModelError(f"{self.path}: storage {key!r} ends {offset + size - member.size} bytes too early")
        return member.archive.read_at(member.data_offset + offset, size)


@contextmanager
def open_archive(path: Path) -> Iterator[TorchArchive]:
    """Open a file of torch.save for reading.

    Raises NotTorchError where it is another zip archive, KeptError where it is a program of TorchScript, ModelError where a byte of
    its structure is wrong.
    """
    try:
        archive = ZipReader(path, Limits(max_ratio=1, max_size=1 << 62))
    except ArtifactError as error:
        raise ModelError(f"{path}: {error.problem}") from error
    try:
        yield _archive(path, archive.members)
    finally:
        archive.close()


def looks_like_zip(head: bytes) -> bool:
    """Say whether a file begins as a zip archive does."""
    return head.startswith(LOCAL_SIGNATURE)


def looks_like_archive(head: bytes) -> bool:
    """Say whether a file begins as those of torch.save do: a zip archive whose first member is some folder's `data.pkl`."""
    if len(head) < LOCAL.size or not looks_like_zip(head):
        return False
    length = LocalHeader._make(LOCAL.unpack_from(head)).name_length
    return head[LOCAL.size : LOCAL.size + length].endswith(f"/{_PICKLE}".encode())


def looks_legacy(head: bytes) -> bool:
    """Say whether a file begins as those of torch.save before 1.6 do: with the pickled number 0x1950a86a20f9469cfc6c."""
    return head.startswith(_LEGACY)


def _archive(path: Path, members: Mapping[str, ZipMember]) -> TorchArchive:
    pickles = [name for name in members if name.partition("/")[2] == _PICKLE]
    if not pickles:
        raise NotTorchError(f"a zip archive without a {_PICKLE}, and none of torch.save")
    if pickles[0].replace(_PICKLE, "constants.pkl") in members:
        raise KeptError("a TorchScript program: its code finds its tensors by their numbers")
    root = pickles[0].removesuffix(_PICKLE)
    foreign = next((member for name, member in members.items() if not name.startswith(root) or member.method != STORED), None)
    if foreign:
        how = "is compressed" if foreign.method != STORED else "lies in another folder"
        raise ModelError(f"{path}: its member {foreign.path[-80:]!r} {how}, which torch.save never does")
    if members[pickles[0]].size > LARGEST_PICKLE:
        raise ModelError(f"{path}: its pickle has {members[pickles[0]].size} bytes; {LARGEST_PICKLE} at most are read")
    folder = f"{root}data/"
    return TorchArchive(
        path=path,
        root=root,
        pickle=_read(path, members[pickles[0]]),
        storages={name.removeprefix(folder): member for name, member in members.items() if name.startswith(folder)},
        version=_record(path, members, f"{root}version") or b"3\n",
        byte_order=_record(path, members, f"{root}byteorder"),
    )


def _record(path: Path, members: Mapping[str, ZipMember], name: str) -> bytes | None:
    member = members.get(name)
    if member is not None and member.size > _LARGEST_RECORD:
        raise ModelError(f"{path}: its member {name[-80:]!r} has {member.size} bytes, where torch.save writes a few")
    return None if member is None else _read(path, member)


def _read(path: Path, member: ZipMember) -> bytes:
    try:
        return b"".join(member.chunks())
    except ArtifactError as error:
        raise ModelError(f"{path}: {error.problem}") from error
