"""Read a layer once, from its stored bytes to its tree; nothing of it is kept but sizes and hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from threading import Lock

from hatch_mlbundle.binaries.library_pruning import Wanted
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.contents.removable import EACH, figures_of
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import CHUNK
from hatch_mlbundle.units import format_size

from .hash_thread import HashThread, Sum
from .layer_tree import LayerTree, is_whiteout
from .listings import is_listing
from .package_facts import condensed, is_told
from .streamed_contents import watcher
from .streams import Damaged, Stream, is_compressed, unpacked
from .tar_format import REGULAR
from .tar_reader import Member, TarReader
from .tree import Effort, Hidden, Stored, Told, TreeError, plain

MOST_MEMBERS = 2_000_000
"""Members of all layers together; each takes memory, and no image of people's has a quarter of it."""
_LARGEST_LISTING = 1 << 24
"""Bytes of one listing of packages' files; what a larger one lists, nobody knows the owner of."""
_MOST_LISTED = 1 << 27
"""Bytes of all listings together: they are kept until all layers are read."""

_MOST_PARTS = 1 << 19
"""Parts that all files together may be told by; the largest real images, of 5,000 libraries, have a fifth of it."""


class Allowance:
    """What all layers of an image together may still unpack to; many threads take from it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.effort = Effort()
        self._lock = Lock()
        self._bytes = limits.max_size
        self._members = MOST_MEMBERS
        self._listed = _MOST_LISTED
        self._parts = _MOST_PARTS

    @property
    def tells_all(self) -> bool:
        """Say whether all that was told of files could be kept."""
        return self._parts >= 0

    def tell(self, parts: int) -> bool:
        """Take so many parts of files, and say whether there were as many left."""
        with self._lock:
            self._parts -= parts
            return self._parts >= 0

    def take(self, size: int, members: int = 0, listed: int = 0) -> str | None:
        """Take so many bytes, members, and bytes of listings that are kept; return what is wrong where there are not as many left."""
        with self._lock:
            self._bytes -= size
            self._members -= members
            self._listed -= listed
        if self._listed < 0:
            return f"brings the lists of packages' files to more than {format_size(_MOST_LISTED)}, as no image has"
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

    `digest` is what these must have, None where only that of the unpacked ones is known: `diff_id`, from the configuration; it is None
    where the layer is read before the configuration. `raw` gives them once, in pieces; `fault` makes the error that says what is wrong.
    """

    number: int
    size: int
    raw: Iterator[bytes]
    digest: Digest | None
    diff_id: Digest | None
    fault: Damaged

    def damaged(self, problem: str) -> ArtifactError:
        """Return the error for what only a new copy helps against."""
        return self.fault(f"{problem}; the image is damaged: build or download it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that was read: `digest` is that of its stored bytes, `size` their number, `stored` every regular file in it.

    `diff_id` is the digest of what it unpacks to; `is_as_configured` tells whether the image's configuration says the same.
    """

    size: int
    digest: Digest
    diff_id: Digest
    tree: LayerTree
    stored: list[Stored] = field(repr=False)
    is_as_configured: bool = True

    def checked(self, source: LayerSource) -> Layer:
        """Return the layer with the number that its source has, if its bytes are what they must be; raises ArtifactError."""
        if source.digest and source.digest != self.digest:
            raise source.damaged(f"should have the digest {source.digest}, but has {self.digest}")
        if source.diff_id and not source.digest and source.diff_id != self.diff_id:
            raise source.damaged(f"should have the digest {source.diff_id}, but has {self.diff_id}")
        if self.tree.number != source.number:
            self.tree.number = source.number
            for each in self.stored:
                each.layer = source.number
                each.hidden = Hidden(source.number, each.hidden.path) if each.hidden else None
        return replace(self, is_as_configured=source.diff_id in (None, self.diff_id))


def read_layer(source: LayerSource, allowance: Allowance, wanted: Wanted = EACH) -> Layer:
    """Return the files of a layer, all read and hashed; raises ArtifactError where it is damaged or hostile, MissingLibraryError.

    `wanted` is the GPU code that libraries are taken to need.
    """
    with HashThread() as thread:
        return _read(source, allowance, thread, wanted).checked(source)


def _read(source: LayerSource, allowance: Allowance, thread: HashThread, wanted: Wanted) -> Layer:
    first = next(source.raw, b"")
    unpacks_to = Sum(source.diff_id.algorithm if source.diff_id else "sha256", thread)
    digest = Sum(source.digest.algorithm if source.digest else "sha256", thread)
    if not is_compressed(first) and digest.algorithm == unpacks_to.algorithm:
        digest = unpacks_to  # the same bytes
    raw = chain([first], source.raw)
    plain_bytes = unpacked(raw if digest is unpacks_to else _hashing(raw, digest), source.damaged)
    stream = _Watched(source, allowance, plain_bytes, unpacks_to, wanted)
    tree, stored = LayerTree(source.number, allowance.effort), list[Stored]()
    reader = TarReader(stream, source.damaged)
    for member in reader:
        path, file = plain(member.name), None
        stream.count(member)
        if member.type == REGULAR and not is_whiteout(path):
            file = _read_file(source.number, path, member, reader, stream)
            stored.append(file)
        try:
            tree.add(member, file)
        except TreeError as error:
            raise source.fault(f"has a member {member.name[:200]!a} {error}") from error
    while stream.read(CHUNK):
        pass
    return Layer(size=source.size, digest=_digest(digest), diff_id=_digest(unpacks_to), tree=tree, stored=stored)


def _digest(made: Sum) -> Digest:
    return Digest(algorithm=made.algorithm, hex=made.hexdigest())


def _hashing(raw: Iterator[bytes], digest: Sum) -> Iterator[bytes]:
    for piece in raw:
        digest.update(piece)
        yield piece


def _read_file(number: int, path: str, member: Member, reader: TarReader, stream: _Watched) -> Stored:
    keep = member.size <= _LARGEST_LISTING and (is_listing(path) or is_told(path))
    before, pieces = stream.position, list[bytes]()
    digest, kind, watch = hashlib.sha256(), None, None
    for chunk in reader.chunks():
        if kind is None:
            kind = identify(path, chunk[:HEAD])
            watch = watcher(path, kind, chunk[:HEAD], member.size, stream.wanted)
        digest.update(chunk)
        if watch:
            watch.feed(chunk)
        if keep:
            pieces.append(chunk)
    return Stored(
        layer=number,
        size=member.size,
        compressed=stream.position - before,
        sha256=digest.hexdigest(),
        kind=kind or identify(path, b""),
        listing=stream.kept(condensed(path, b"".join(pieces))) if keep else None,
        told=stream.within(watch.told()) if watch else None,
    )


class _Watched(Stream):
    """A layer's unpacked bytes, hashed and counted against what a layer of its size may unpack to; `wanted` as in `read_layer`."""

    def __init__(self, source: LayerSource, allowance: Allowance, stream: Stream, digest: Sum, wanted: Wanted) -> None:
        self.wanted = wanted
        self._source = source
        self._allowance = allowance
        self._stream = stream
        self._digest = digest
        self._left = allowance.limits.most(source.size)

    @property
    def position(self) -> int:
        """Return how many stored bytes everything that was read so far took."""
        return self._stream.position

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raises ArtifactError where they are damaged, or too many."""
        piece = self._stream.read(size)
        self._digest.update(piece)
        self._take(len(piece))
        return piece

    def count(self, member: Member) -> None:
        """Count a member, and the holes in it; raises ArtifactError where they are too many."""
        self._take(max(0, member.size - member.stored), members=1)

    def kept(self, listing: bytes) -> bytes:
        """Count a listing that is kept, and return it; raises ArtifactError where they are too many."""
        self._take(0, listed=len(listing))
        return listing

    def within(self, told: Told) -> Told | None:
        """Count what is told of a file, and return it; None where there is nothing, or too much of all files together."""
        parts = sum(map(len, told.parts.values())) + (figures_of(told.removable) if told.removable else 0)
        return told if parts and self._allowance.tell(parts) else None

    def _take(self, size: int, members: int = 0, listed: int = 0) -> None:
        self._left -= size
        if self._left < 0:
            ratio = self._allowance.limits.max_ratio
            raise self._source.fault(
                f"unpacks to more than {ratio} times its {format_size(self._source.size)}, as a bomb does; "
                "raise `max-ratio` in `[tool.mlbundle] limits` if that is right"
            )
        problem = self._allowance.take(size, members, listed)
        if problem:
            raise self._source.fault(problem)
