"""An image as a tar file: an OCI image layout, or what `docker save` writes; plain, or compressed as a whole."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.errors import ArtifactError

from .extent import Extent
from .layouts import EarlyReader, Reader, check_document, lacking
from .streams import Damaged, FileStream, Stream, is_compressed, unpacked
from .tar_format import BLOCK, HARD_LINK, REGULAR, SYMBOLIC_LINK, TarFormatError, read_header
from .tar_reader import Member, TarReader
from .tree import MOST_LINKS

_MOST_MEMBERS = 100_000
_MOST_KEPT = 1 << 25
"""Bytes of documents that are kept of a compressed file, which cannot be read from its middle."""
_LARGEST_KEPT = 1 << 23
_MOST_PASSES = 4
"""How often a compressed file is unpacked for a large layer that is in the image more than once, which hardly any is."""

T = TypeVar("T")


def open_tar(path: Path, pool: Executor, limits: Limits) -> TarLayout | PackedLayout | None:
    """Return the image in a tar file, None where it is no tar file; raises ArtifactError where it holds no image, or cannot be read.

    Of one that is compressed as a whole, only reading it tells whether it holds an image.
    """
    with closing(SharedFile(path)) as file:
        head = _head(file)
        if not is_compressed(head):
            return TarLayout(path, pool) if _is_tar(head) else None
        return PackedLayout(path, limits) if _is_tar(_unpacked(file).read(BLOCK)) else None


def may_be_tar(path: Path) -> bool:
    """Say whether a file begins as a tar file does, or as a compressed one; raises ArtifactError where it cannot be read."""
    with closing(SharedFile(path)) as file:
        head = _head(file)
    return is_compressed(head) or _is_tar(head)


def _head(file: SharedFile) -> bytes:
    return file.read_at(0, min(BLOCK, file.size))


def _is_tar(head: bytes) -> bool:
    try:
        return len(head) == BLOCK and any(head) and bool(read_header(head))
    except TarFormatError:
        return False


def _unpacked(file: SharedFile) -> Stream:
    return unpacked(file.chunks(0, file.size), file.damaged)


class _Parts:
    """The files of a tar file by their names, with where each begins and how many bytes it has."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}

    def fault(self, problem: str) -> ArtifactError:
        """Return the error that says what is wrong with the image."""
        return ArtifactError(str(self._path), problem)

    def has(self, name: str) -> bool:
        """Say whether there is such a part."""
        return self.target(name) in self._places

    def size(self, name: str) -> int:
        """Return a part's size in bytes."""
        return self._place(name)[1]

    def _check(self) -> None:
        """Raise ArtifactError where there is no image."""
        if not (self.has("index.json") or self.has("manifest.json")):
            raise self.fault("is a tar file, but no container image: it has neither index.json nor manifest.json")

    def _place(self, name: str) -> tuple[int, int]:
        target = self.target(name)
        if target not in self._places:
            raise lacking(self, name)
        return self._places[target]

    def target(self, name: str) -> str:
        """Return the name of the file that a name leads to; `docker save` has links instead of layers that it has twice."""
        for _ in range(MOST_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return name

    def _members(self, stream: Stream, damaged: Damaged) -> Iterator[tuple[str, Member, TarReader]]:
        """Yield each file, with its name and what reads it, and note the links; raises ArtifactError where one is there twice."""
        reader, seen = TarReader(stream, damaged), set[str]()
        for number, member in enumerate(reader):
            if number >= _MOST_MEMBERS:
                raise self.fault(f"is a tar file of more than {_MOST_MEMBERS:,} members, as no image is")
            name = posixpath.normpath(member.name.lstrip("/"))
            if member.type in (SYMBOLIC_LINK, HARD_LINK, REGULAR):
                if name in seen:
                    raise self.fault(f"has {name[:200]!a} twice; save it again")
                seen.add(name)
            if member.type == SYMBOLIC_LINK:
                self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
            elif member.type == HARD_LINK:
                self._links[name] = posixpath.normpath(member.link)
            elif member.type == REGULAR:
                self._places[name] = (stream.position, member.stored)
                yield name, member, reader


class TarLayout(_Parts):
    """An image in a tar file that is read wherever it needs to be. Links in it lead to other parts of it only."""

    def __init__(self, path: Path, pool: Executor) -> None:
        super().__init__(path)
        self._pool = pool
        with closing(SharedFile(path)) as file:
            for _ in self._members(FileStream(file), file.damaged):
                pass
        self._check()

    def read_early(self, reader: EarlyReader[T]) -> dict[str, T]:
        """Return nothing: each part can be read by itself."""
        return {}

    def document(self, name: str) -> bytes:
        """Return all bytes of a part; raises ArtifactError where they are more than any JSON of an image."""
        offset, size = self._place(name)
        check_document(self, name, size)
        with closing(SharedFile(self._path)) as file:
            return file.read_at(offset, size)

    def extent(self, name: str) -> Extent:
        """Return where in the tar file a part lies."""
        offset, size = self._place(name)
        return Extent(path=self._path, offset=offset, size=size)

    def read_all(self, names: Sequence[str], reader: Reader[T]) -> list[T]:
        """Return what `reader` makes of each part, in order, on all cores."""
        with closing(SharedFile(self._path)) as file:

            def read(position: int, name: str) -> T:
                offset, size = self._place(name)
                return reader(position, file.chunks(offset, size), size)

            return list(self._pool.map(read, range(len(names)), names))


class PackedLayout(_Parts):
    """An image in a tar file that was compressed as a whole (`docker save app | gzip`): read from its start, layers as they come."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path)
        self._limits = limits
        self._documents: dict[str, bytes] = {}
        self._is_read = False

    def has(self, name: str) -> bool:
        """Say whether there is such a part."""
        self._look()
        return super().has(name)

    def read_early(self, reader: EarlyReader[T]) -> dict[str, T]:
        """Return what `reader` makes of all large parts: the documents that tell which of them are layers may come last."""
        early: dict[str, T] = {}
        room, left = _MOST_KEPT, min(self._limits.max_size, self._limits.most(self._path.stat().st_size))
        with self._stream() as (stream, damaged):
            for name, member, tar in self._members(stream, damaged):
                left -= member.stored
                if left < 0:
                    raise self.fault("unpacks to more than `limits` in `[tool.mlbundle]` allow; raise them if that is right")
                if member.stored <= min(room, _LARGEST_KEPT):
                    room -= member.stored
                    self._documents[name] = b"".join(tar.chunks())
                else:
                    early[name] = reader(tar.chunks(), member.stored)
        self._is_read = True
        self._check()
        return early

    def document(self, name: str) -> bytes:
        """Return all bytes of a part; raises ArtifactError where they are more than any JSON of an image."""
        check_document(self, name, self.size(name))
        kept = self._documents.get(self.target(name))
        if kept is None:
            raise self.fault(f"is compressed as a whole and has too many small files to find {name!a}; unpack it with gunzip or zstd -d")
        return kept

    def extent(self, name: str) -> None:
        """Return None: no part lies as it is in a compressed file."""

    def read_all(self, names: Sequence[str], reader: Reader[T]) -> list[T]:
        """Return what `reader` makes of each part, in order: one after the other, once more from the start for a large one named twice."""
        results: dict[int, T] = {}
        waiting: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            self._place(name)
            target = self.target(name)
            if kept := self._documents.get(target):
                results[position] = reader(position, iter([kept]), len(kept))
            else:
                waiting.setdefault(target, []).append(position)
        if max(map(len, waiting.values()), default=0) > _MOST_PASSES:
            raise self.fault(
                f"is compressed as a whole and has a large layer more than {_MOST_PASSES} times; unpack it with gunzip or zstd -d"
            )
        while waiting:
            with self._stream() as (stream, damaged):
                for name, member, tar in self._members(stream, damaged):
                    if name in waiting:
                        position = waiting[name].pop(0)
                        results[position] = reader(position, tar.chunks(), member.stored)
                        waiting = {name: positions for name, positions in waiting.items() if positions}
        return [results[position] for position in range(len(names))]

    def _place(self, name: str) -> tuple[int, int]:
        self._look()
        return super()._place(name)

    def _look(self) -> None:
        """Find out what there is, where nobody has read it early."""
        if not self._is_read:
            self.read_early(lambda _raw, _size: None)

    @contextmanager
    def _stream(self) -> Iterator[tuple[Stream, Damaged]]:
        with closing(SharedFile(self._path)) as file:
            yield _unpacked(file), file.damaged
