"""Read a layer once, from its stored bytes to its tree; nothing of it is kept but sizes and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import CHUNK
from hatch_mlbundle.units import format_size

from .layer_tree import LayerTree, is_whiteout
from .listings import is_listing
from .streams import Damaged, Stream, unpacked
from .tar_format import REGULAR
from .tar_reader import Member, TarReader
from .tree import Stored, TreeError

MOST_MEMBERS = 2_000_000
"""Members of all layers together; each takes memory, and no image of people's has a quarter of it."""
_LARGEST_LISTING = 1 << 24
_LARGEST_LISTINGS = 1 << 25
"""Bytes of one listing of a package's files, and of all in a layer; of what is more, nobody knows the owner."""


class Allowance:
    """What all layers of an image together may still unpack to; many threads take from it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = Lock()
        self._bytes = limits.max_size
        self._members = MOST_MEMBERS

    def take(self, size: int, members: int = 0) -> str | None:
        """Take so many bytes and members; return what is wrong where there are not as many left."""
        with self._lock:
            self._bytes -= size
            self._members -= members
        if self._members < 0:
            return f"has more than {MOST_MEMBERS:,} members in its layers"
        if self._bytes < 0:
            limit = format_size(self.limits.max_size)
            return f"unpacks to more than the limit of {limit}; raise `max-size` in `[tool.mlbundle] limits` if that is right"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A digest as OCI writes it: `sha256:` and hex."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    """A layer to be read: its number from 1, and its stored bytes.

    `digest` is what these must have, None where only that of the unpacked ones is known: `diff_id`, from the configuration. `raw`
    gives them once, in pieces of `STEP`; `fault` makes the error that says what is wrong with the layer.
    """

    number: int
    size: int
    raw: Iterator[bytes]
    digest: Digest | None
    diff_id: Digest
    fault: Damaged

    def damaged(self, problem: str) -> ArtifactError:
        """Return the error for what only a new copy helps against."""
        return self.fault(f"{problem}; the image is damaged: build or download it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that was read: `digest` is that of its stored bytes, `size` their number, `stored` every regular file in it.

    `is_as_configured` tells whether it unpacks to what the image's configuration says.
    """

    size: int
    digest: Digest
    tree: LayerTree
    stored: list[Stored] = field(repr=False)
    is_as_configured: bool


def read_layer(source: LayerSource, allowance: Allowance) -> Layer:
    """Return the files of a layer, all read and hashed; raises ArtifactError where it is damaged or hostile, MissingLibraryError."""
    digest = hashlib.new(source.digest.algorithm if source.digest else "sha256")
    stream = _Watched(source, allowance, unpacked(_hashing(source.raw, digest), source.damaged))
    tree, stored = LayerTree(source.number), list[Stored]()
    reader, room = TarReader(stream, source.damaged), _LARGEST_LISTINGS
    for member in reader:
        stream.count(member)
        file = None
        if member.type == REGULAR and not is_whiteout(member.name):
            file = _read_file(source.number, member, reader, stream, min(room, _LARGEST_LISTING))
            room -= len(file.listing or b"")
            stored.append(file)
        try:
            tree.add(member, file)
        except TreeError as error:
            raise source.fault(f"has a member {member.name[:200]!a} {error}") from error
    while stream.read(CHUNK):
        pass
    found = Digest(algorithm=digest.name, hex=digest.hexdigest())
    if source.digest:
        _check(source, source.digest, found)
    else:
        _check(source, source.diff_id, stream.digest())
    return Layer(size=source.size, digest=found, tree=tree, stored=stored, is_as_configured=stream.digest() == source.diff_id)


def _hashing(raw: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for piece in raw:
        digest.update(piece)
        yield piece


def _check(source: LayerSource, expected: Digest, found: Digest) -> None:
    if expected != found:
        raise source.damaged(f"should have the digest {expected}, but has {found}")


def _read_file(number: int, member: Member, reader: TarReader, stream: Stream, room: int) -> Stored:
    path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
    listing: list[bytes] | None = [] if is_listing(path) and member.size <= room else None
    digest, head, before = hashlib.sha256(), b"", stream.position
    for chunk in reader.chunks():
        digest.update(chunk)
        head = head or chunk[:HEAD]
        if listing is not None:
            listing.append(chunk)
    return Stored(
        layer=number,
        size=member.size,
        compressed=stream.position - before,
        sha256=digest.hexdigest(),
        kind=identify(path, head),
        listing=None if listing is None else b"".join(listing),
    )


class _Watched(Stream):
    """A layer's unpacked bytes, hashed and counted against what a layer of its size may unpack to."""

    def __init__(self, source: LayerSource, allowance: Allowance, stream: Stream) -> None:
        self._source = source
        self._allowance = allowance
        self._stream = stream
        self._digest = hashlib.new(source.diff_id.algorithm)
        self._left = allowance.limits.most(source.size)

    @property
    def position(self) -> int:
        """Return how many stored bytes everything that was read so far took."""
        return self._stream.position

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they are damaged, or too many."""
        piece = self._stream.read(size)
        self._digest.update(piece)
        self._take(len(piece), 0)
        return piece

    def count(self, member: Member) -> None:
        """Count a member, and the holes in it; raises ArtifactError where they are too many."""
        self._take(max(0, member.size - member.stored), 1)

    def digest(self) -> Digest:
        """Return the digest of everything that was read."""
        return Digest(algorithm=self._digest.name, hex=self._digest.hexdigest())

    def _take(self, size: int, members: int) -> None:
        self._left -= size
        if self._left < 0:
            ratio = self._allowance.limits.max_ratio
            raise self._source.fault(
                f"unpacks to more than {ratio} times its {format_size(self._source.size)}, as a bomb does; "
                "raise `max-ratio` in `[tool.mlbundle] limits` if that is right"
            )
        problem = self._allowance.take(size, members)
        if problem:
            raise self._source.fault(problem)
