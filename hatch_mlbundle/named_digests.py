"""Which files of a bundle another one names by checksum: a list of checksums, a page that pins its scripts, a catalogue of test data."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence

from .model import Bundle, File, Kind
from .optimizer import Context, Json

_TELLING = (Kind.DATA, Kind.METADATA, Kind.OTHER, Kind.PYTHON, Kind.TEXT)
_LARGEST = 5_000_000
"""Bytes of the largest file that is searched for checksums."""

_HEX = re.compile(rb"[0-9A-Fa-f]{32,}")
_LENGTHS = frozenset({32, 40, 64, 96, 128})
_INTEGRITY = re.compile(rb"sha(?:256|384|512)-([A-Za-z0-9+/]{43,86}={0,2})")
"""What a page says of a script that it loads (W3C, Subresource Integrity, section 3.1)."""

_ALGORITHMS = ("md5", "sha1", "sha256", "sha384", "sha512")


def named_digests(files: Sequence[File], bundle: Bundle, context: Context) -> set[str]:
    """Return the paths of those files whose MD5, SHA-1 or SHA-2 stands in another file of the bundle, in hex or as an integrity value.

    A wheel's RECORD does not count: it is written anew.
    """
    telling = [file for _, file in sorted(bundle.items()) if file.kind in _TELLING and file.size <= _LARGEST and not _is_record(file.path)]
    named = {digest for found in context.examine("named digests", telling, _examine_named).values() for digest in found}
    if not named:
        return set()
    own = context.examine("digests", files, _examine_digests)
    return {path for path, digests in own.items() if named.intersection(digests)}


def _is_record(path: str) -> bool:
    return path.endswith((".dist-info/RECORD", ".dist-info/RECORD.jws", ".dist-info/RECORD.p7s"))


def _examine_named(file: File) -> Json:
    data = file.read()
    found = {match[0].decode().lower() for match in _HEX.finditer(data) if len(match[0]) in _LENGTHS}
    found.update(_decoded(match[1] for match in _INTEGRITY.finditer(data)))
    return sorted(found)


def _decoded(texts: Iterable[bytes]) -> Iterable[str]:
    for text in texts:
        try:
            yield base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            continue


def _examine_digests(file: File) -> Json:
    sums = [hashlib.new(name, usedforsecurity=False) for name in _ALGORITHMS]
    for chunk in file.content.chunks():
        for each in sums:
            each.update(chunk)
    return [each.hexdigest() for each in sums]
