"""RECORD, the list of a wheel's files with their hashes (packaging.python.org, "Recording installed projects"; PEP 427)."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Files in dist-info that sign RECORD; RECORD does not list them, or without a hash (PEP 427)."""

_WEAK = {"md5", "sha1", "sha224", "sha3_224", "shake_128", "shake_256"}
STRONG = frozenset(hashlib.algorithms_guaranteed - _WEAK)
"""Hash algorithms that RECORD may use: SHA-256 or better, of those that every Python has (PEP 427)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRow:
    """One row of RECORD, as text in `line`; `algorithm` and `digest` are empty and `size` (bytes) is None where not given."""

    path: str
    algorithm: str
    digest: str
    size: int | None
    line: str

    def digest_fits(self, digest: bytes) -> bool:
        """Say whether `digest`, made with the row's algorithm, is the one that the row gives."""
        return unpadded_base64(digest) == self.digest.rstrip("=")


def parse_record(text: str) -> dict[str, RecordRow]:
    """Return RECORD's rows by path; raises ValueError with what is wrong and in which line."""
    rows: dict[str, RecordRow] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line:
            continue
        try:
            row = _parse_row(line)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"line {number} of RECORD: {error}") from None
        if row.path in rows:
            raise ValueError(f"line {number} of RECORD: {row.path!r} is listed twice")
        rows[row.path] = row
    return rows


def recorded_files(record: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each file that an installed RECORD lists, and its distribution; a RECORD that nobody can read lists none.

    `record` is the path of RECORD in a tree. Paths begin with `..` where they lead out of it, and with `/` where RECORD says so.
    """
    folder, _, info = record.removesuffix("/RECORD").rpartition("/")
    name = info.removesuffix(".dist-info").rpartition("-")[0]
    try:
        rows = list(csv.reader(lines))
    except csv.Error:
        return
    for row in filter(None, rows):
        yield _plain_path(posixpath.join(folder, row[0])), name


def _plain_path(path: str) -> str:
    """Return a path without `.`, `..` and empty parts; most have none, and looking is quicker than taking them apart."""
    return posixpath.normpath(path) if "./" in path or "//" in path else path


def record_line(path: str, sha256: str, size: int) -> str:
    """Return RECORD's line for a file with this hex SHA-256 and size in bytes."""
    return _csv_line([path, f"sha256={unpadded_base64(bytes.fromhex(sha256))}", str(size)])


def own_line(path: str) -> str:
    """Return RECORD's line for RECORD itself, which has neither hash nor size."""
    return _csv_line([path, "", ""])


def format_record(lines: Iterable[str]) -> bytes:
    """Return RECORD with these lines."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def unpadded_base64(digest: bytes) -> str:
    """Return a digest as RECORD writes it: URL-safe base64 without the `=` at the end (PEP 427, "Signed wheel files")."""
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def _parse_row(line: str) -> RecordRow:
    fields = next(csv.reader([line], strict=True))
    if len(fields) != 3:
        raise ValueError(f"{len(fields)} fields where path, hash and size belong")
    path, stated, size = fields
    algorithm, separator, digest = stated.partition("=")
    if stated and not (algorithm and separator and digest):
        raise ValueError(f"{stated!r} is no hash; it is written like 'sha256=...'")
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise ValueError(f"{size!r} is no size in bytes")
    return RecordRow(path=path, algorithm=algorithm, digest=digest, size=int(size) if size else None, line=line)


def _csv_line(fields: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(fields)
    return buffer.getvalue()
