"""Read the code signature of a Mach-O file, and tell whether it fits the code. Layout after Apple's <kern/cs_blobs.h>."""

from __future__ import annotations

import hashlib
import struct
from enum import Enum

from hatch_mlbundle.errors import BinaryError

from .reader import RangeReader

_SUPER_BLOB, _CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
_CODE_DIRECTORY_SLOT, _CMS_SLOT = 0, 0x10000
_EMPTY_BLOB = 8
_MAX_SIZE = 16 << 20
_MAX_BLOBS = 64
_HASHES = {1: "sha1", 2: "sha256"}
_DIRECTORY = struct.Struct(">IIIIIIIIIBBBB")


class Signature(str, Enum):
    """Whose signature a Mach-O file carries: an ad-hoc one anybody can make again, one of an identity only its owner."""

    NONE = "none"
    AD_HOC = "ad-hoc"
    IDENTITY = "identity"


def read_signature(reader: RangeReader, offset: int, size: int) -> Signature:
    """Return whose signature lies at `offset`; raises BinaryError."""
    data = reader.read(offset, min(size, _MAX_SIZE), "signature")
    blobs = _blobs(data)
    if _CODE_DIRECTORY_SLOT not in blobs:
        return Signature.IDENTITY  # of a kind we do not know: hands off
    at = blobs.get(_CMS_SLOT)
    is_empty = at is None or int.from_bytes(data[at + 4 : at + 8], "big") <= _EMPTY_BLOB
    return Signature.AD_HOC if is_empty else Signature.IDENTITY


def signature_fits(reader: RangeReader, start: int, offset: int, size: int) -> bool:
    """Say whether the page hashes of the signature at `offset` are those of the slice at `start`; raises BinaryError."""
    data = reader.read(offset, min(size, _MAX_SIZE), "signature")
    at = _blobs(data).get(_CODE_DIRECTORY_SLOT)
    if at is None or at + _DIRECTORY.size > len(data):
        return False
    magic, _, _, _, hashes, _, _, pages, limit, length, kind, _, shift = _DIRECTORY.unpack_from(data, at)
    if magic != _CODE_DIRECTORY or kind not in _HASHES or not 12 <= shift <= 20 or pages != -(-limit // (1 << shift)):
        return False
    for page in range(pages):
        begin = page << shift
        code = reader.read(start + begin, min(1 << shift, limit - begin), "signed code")
        found = hashlib.new(_HASHES[kind], code, usedforsecurity=False).digest()[:length]
        if found != data[at + hashes + page * length : at + hashes + (page + 1) * length]:
            return False
    return True


def _blobs(data: bytes) -> dict[int, int]:
    """Return where each blob of the signature begins, by slot; nothing where it is of a kind we do not know."""
    if len(data) < 12:
        raise BinaryError("a code signature is too short")
    magic, _, count = struct.unpack_from(">III", data)
    if magic != _SUPER_BLOB or count > _MAX_BLOBS or 12 + 8 * count > len(data):
        return {}
    return dict(struct.iter_unpack(">II", data[12 : 12 + 8 * count]))
