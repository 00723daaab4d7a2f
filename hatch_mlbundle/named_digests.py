"""Single files made anew, but for those that another one names by checksum: a list of them, a page that pins its scripts, test data."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from .model import Bundle, Change, File, Keep, Kind
from .optimizer import Context, Json

NAMED = "another file names its checksum"
"""Why such a file stays."""

_TELLING = (Kind.DATA, Kind.METADATA, Kind.OTHER, Kind.PYTHON, Kind.TEXT)
_LARGEST = 5_000_000
"""Bytes of the largest file that is searched for checksums."""

_HEX = re.compile(rb"[0-9A-Fa-f]{32,}")
_LENGTHS = frozenset({32, 40, 64, 96, 128})
_INTEGRITY = re.compile(rb"sha(?:256|384|512)-([A-Za-z0-9+/]{43,86}={0,2})")
"""What a page says of a script that it loads (W3C, Subresource Integrity, section 3.1)."""

_ALGORITHMS = ("md5", "sha1", "sha256", "sha384", "sha512")


def files_called(suffixes: tuple[str, ...], bundle: Bundle, context: Context) -> list[File]:
    """Return the files that a step may change whose names end so, in any case, by path; links and empty files are none."""
    found = (file for path, file in sorted(bundle.items()) if path.lower().endswith(suffixes) and context.selects(path))
    return [file for file in found if file.link is None and file.size]


def unless_named(files: Sequence[File], bundle: Bundle, context: Context, change_of: Callable[[File], Change]) -> Iterator[Change]:
    """Yield the change of each file, a Keep for one whose checksum another file names."""
    named = named_digests(files, bundle, context)
    for file in files:
        yield Keep(path=file.path, reason=NAMED) if file.path in named else change_of(file)


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
