"""How two artifacts that should be the same differ: from whole members down to a line or a byte, causes before what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import BinaryIO

from hatch_mlbundle.bundles.packed_inventory import UNREADABLE
from hatch_mlbundle.errors import RebuildError
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.model import CHUNK
from hatch_mlbundle.printable import printable

from . import causes
from .causes import Clues
from .members import Member, Source, gzip_header, members_of, ungzipped

_WHOLE = 1 << 26
"""Bytes of a file that is read as a whole to tell how it differs; of a larger one the place alone is told."""
_DEEPEST = 3
_FOLLOWS = ("/RECORD", "/mlbundle.json", "/mlbundle-machine.json", SUFFIX, ".sha256", "/PKG-INFO", "/SOURCES.txt")
"""Ends of names of files that tell of others, and so differ where those do."""
_CAUSES = {"mode": causes.PERMISSIONS, "time": causes.TIME, "owner": causes.OWNER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference: `where` it is, from the artifact inwards, `what` differs there, how it is in each, and the likely cause, if any.

    `trait` is what of a file differs beside its bytes (mode, time, owner, ...), None where these do; it may do so of several `files`,
    of which this is the first. `follows` says that it is likely to be there because of another.
    """

    where: tuple[str, ...]
    what: str
    first: str
    second: str
    cause: str = ""
    trait: str | None = None
    files: int = 1
    follows: bool = False

    def line(self) -> str:
        """Return where and what as one line for a person."""
        told = ": ".join(printable(each) for each in (*self.where, self.what))
        told += f", and of {self.files - 1:,} more" if self.files > 1 else ""
        return f"{told} ({self.cause})" if self.cause else told

    def is_of(self, other: Difference) -> bool:
        """Say whether this is the other difference, found between two other builds."""
        return (self.where, self.trait) == (other.where, other.trait)


def differences(first: Path, second: Path, clues: Clues) -> list[Difference]:
    """Return how two artifacts differ, nothing where they are the same; what tells most comes first. Raises RebuildError."""
    try:
        found = list(_compared(first, second, (first.name,), clues))
    except (OSError, *UNREADABLE) as error:
        raise RebuildError(f"{first.name}: cannot be compared: {printable(str(error))}") from error
    return sorted(found, key=lambda each: (each.follows, each.trait is not None))


def _compared(first: Source, second: Source, where: tuple[str, ...], clues: Clues) -> Iterator[Difference]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(members_of(each)) if len(where) <= _DEEPEST else None for each in (first, second))
        if one is not None and other is not None:
            inside = _gathered(_members_compared(one, other, where, clues))
            yield from inside
            if not inside and not _is_folder(first) and not _alike(first, second):
                header = gzip_header(first), gzip_header(second)
                yield _header(where, *header) if header[0] != header[1] else _rest(where)
            return
    yield from _contents_compared(first, second, where, clues)


def _gathered(found: Iterable[Difference]) -> list[Difference]:
    """Return differences with one for all files of an archive that have the same trait wrong."""
    gathered: dict[object, Difference] = {}
    for each in found:
        key = (each.where[:-1], each.trait) if each.trait else each.where
        earlier = gathered.get(key)
        gathered[key] = replace(earlier, files=earlier.files + 1) if earlier and each.trait else each
    return list(gathered.values())


def _members_compared(first: list[Member], second: list[Member], where: tuple[str, ...], clues: Clues) -> Iterator[Difference]:
    one, other = ({member.path: member for member in members} for members in (first, second))
    if one.keys() == other.keys() and list(one) != list(other):
        here, there = next((a, b) for a, b in zip(one, other, strict=True) if a != b)
        yield Difference(where=where, what="order of its files", first=here, second=there, cause=causes.ORDER, trait="order")
    for path in sorted({*one, *other}):
        place, follows = (*where, path), f"/{path}".endswith(_FOLLOWS)
        if path not in one or path not in other:
            told = ("there", "missing") if path in one else ("missing", "there")
            yield Difference(where=place, what="is in one of them only", first=told[0], second=told[1])
            continue
        yield from _member_compared(one[path], other[path], place, clues, follows=follows)


def _member_compared(first: Member, second: Member, where: tuple[str, ...], clues: Clues, *, follows: bool) -> Iterator[Difference]:
    if first.kind != second.kind:
        yield Difference(where=where, what="kind", first=first.kind, second=second.kind)
        return
    same = _same(first, second)
    if not same:
        found = list(_contents_compared(_read(first), _read(second), where, clues))
        for each in found or [Difference(where=where, what="content", first="", second="")]:
            yield replace(each, follows=follows or each.follows)
    for trait, here in first.traits.items():
        there = second.traits.get(trait, "")
        if here != there and (same or trait not in ("compression", "time")):
            cause, follows = _CAUSES.get(trait, ""), trait == "headers"
            yield Difference(where=where, what=trait, first=here, second=there, cause=cause, trait=trait, follows=follows)


def _contents_compared(first: Source, second: Source, where: tuple[str, ...], clues: Clues) -> Iterator[Difference]:
    """Yield how two files differ that are not the same, an archive in one by its members."""
    if isinstance(first, bytes) and isinstance(second, bytes) and first[:4] == second[:4] == b"PK\3\4" and len(where) < _DEEPEST:
        inside = _inside(first, second, where, clues)
        if inside:
            yield from inside
            return
    if _alike(first, second):
        return
    one, other = _bytes(first), _bytes(second)
    one_inside, other_inside = _ungzipped(one), _ungzipped(other)
    if one_inside is not None and other_inside is not None:
        if one_inside == other_inside:
            headers = gzip_header(one), gzip_header(other)
            yield _header(where, *headers) if headers[0] != headers[1] else _rest(where)
            return
        one, other = one_inside, other_inside
    yield (
        _content(one, other, where, clues) if one != other else Difference(where=where, what=f"beyond byte {_WHOLE:,}", first="", second="")
    )


def _inside(first: bytes, second: bytes, where: tuple[str, ...], clues: Clues) -> list[Difference]:
    """Return how the members of two archives differ, nothing where one only begins as such."""
    try:
        return list(_compared(first, second, where, clues))
    except (OSError, *UNREADABLE):
        return []


def _ungzipped(data: bytes) -> bytes | None:
    """Return what a gzip file unpacks to, None for any other file, and one that only begins as such."""
    if gzip_header(data) is None:
        return None
    try:
        return ungzipped(data).read(_WHOLE)
    except (OSError, *UNREADABLE):
        return None


def _content(first: bytes, second: bytes, where: tuple[str, ...], clues: Clues) -> Difference:
    """Return how the bytes of two files differ: by the line where both are text, else by the byte."""
    lines = _lines(first), _lines(second)
    if lines[0] is not None and lines[1] is not None:
        number, here, there = _first_line(lines[0], lines[1])
        cause = clues.cause(first, second, (here, there))
        return Difference(where=where, what=f"line {number}", first=here, second=there, cause=cause)
    offset = next((each for each in range(min(len(first), len(second))) if first[each] != second[each]), min(len(first), len(second)))
    here, there = (data[offset : offset + 16].hex(" ") or "the end" for data in (first, second))
    cause = clues.cause(first, second, None)
    if where[-1].endswith(".pyc") and 8 <= offset < 12 and first[4:8] == b"\0\0\0\0":
        cause = "the time of its source, in the header of bytecode"
    return Difference(where=where, what=f"byte {offset:,}", first=here, second=there, cause=cause)


def _first_line(first: list[str], second: list[str]) -> tuple[int, str, str]:
    """Return the number of the first line that differs, and what it is in each; `(the end)` where there is none."""
    for number in count():
        here, there = (lines[number] if number < len(lines) else "(the end)" for lines in (first, second))
        if here != there or number > max(len(first), len(second)):
            return number + 1, here, there
    raise AssertionError


def _lines(data: bytes) -> list[str] | None:
    """Return the lines of a text with their ends, None for anything else."""
    if b"\0" in data:
        return None
    try:
        return data.decode().splitlines(keepends=True)
    except UnicodeDecodeError:
        return None


def _same(first: Member, second: Member) -> bool:
    with first.open() as one, second.open() as other:
        return _same_bytes(one, other)


def _alike(first: Source, second: Source) -> bool:
    if isinstance(first, bytes) or isinstance(second, bytes):
        return first == second
    with first.open("rb") as one, second.open("rb") as other:
        return _same_bytes(one, other)


def _same_bytes(first: BinaryIO, second: BinaryIO) -> bool:
    while True:
        one, other = first.read(CHUNK), second.read(CHUNK)
        if one != other:
            return False
        if not one:
            return True


def _read(member: Member) -> bytes:
    with member.open() as stream:
        return stream.read(_WHOLE)


def _bytes(source: Source) -> bytes:
    if isinstance(source, bytes):
        return source
    with source.open("rb") as stream:
        return stream.read(_WHOLE)


def _is_folder(source: Source) -> bool:
    return isinstance(source, Path) and source.is_dir()


def _header(where: tuple[str, ...], first: str | None, second: str | None) -> Difference:
    return Difference(where=where, what="header of gzip", first=first or "", second=second or "", cause=causes.TIME)


def _rest(where: tuple[str, ...]) -> Difference:
    return Difference(where=where, what="how it is packed", first="", second="", cause="another release or level of what compresses")


def modules_that_differ(first: Path, second: Path) -> list[str]:
    """Return the modules inside frozen executables that differ, by the manifests beside two bundles; nothing where one has none."""
    rows: list[dict[str, str | None]] = []
    for bundle in (first, second):
        manifest = bundle.with_name(bundle.name + SUFFIX)
        if not manifest.is_file():
            return []
        files = Manifest.load(manifest).files
        rows.append({row.path: row.after.sha256 for row in files if row.after and ".pyz/" in row.path})
    return sorted(path for path in {*rows[0], *rows[1]} if rows[0].get(path) != rows[1].get(path))
