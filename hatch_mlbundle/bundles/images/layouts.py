"""Where an image's parts lie: in a folder, or in a tar file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.errors import ArtifactError

from .extent import Extent

_LARGEST_DOCUMENT = 1 << 23
"""Bytes of JSON that no image needs more of; registries take manifests of 4 MiB."""

T = TypeVar("T")
Reader: TypeAlias = Callable[[int, Iterator[bytes], int], T]
"""Reads one part: gets its position among those that were asked for, its bytes in pieces, and their number."""

EarlyReader: TypeAlias = Callable[[Iterator[bytes], int], T]
"""Reads a part of which nobody knows yet what it is: gets its bytes in pieces, and their number. It need not take all of them."""


class Layout(Protocol):
    """The parts of an image by their names, with `/` between folders. Raises ArtifactError where one is not there, or is no file."""

    def fault(self, problem: str) -> ArtifactError:
        """Return the error that says what is wrong with the image."""

    def has(self, name: str) -> bool:
        """Say whether there is such a part."""

    def size(self, name: str) -> int:
        """Return a part's size in bytes."""

    def document(self, name: str) -> bytes:
        """Return all bytes of a part; raises ArtifactError where they are more than any JSON of an image."""

    def extent(self, name: str) -> Extent | None:
        """Return where a part lies as it is; None where it must be unpacked first."""

    def target(self, name: str) -> str:
        """Return the name of the part that a name leads to, itself where it is no link."""

    def read_early(self, reader: EarlyReader[T]) -> dict[str, T]:
        """Return what `reader` makes of large parts, by name, where all parts have to be read to find the documents; else nothing.

        It is called before anything else, but for `fault`.
        """

    def read_all(self, names: Sequence[str], reader: Reader[T]) -> list[T]:
        """Return what `reader` makes of each part, in order; it may be called from several threads."""


def is_layout(folder: Path) -> bool:
    """Say whether a folder says of itself that it is an OCI image layout (image-layout.md, "oci-layout file")."""
    return (folder / "oci-layout").is_file()


class FolderLayout:
    """An OCI image layout as a folder (OCI image specification, image-layout.md)."""

    def __init__(self, path: Path, pool: Executor) -> None:
        self._path = path
        self._pool = pool

    def fault(self, problem: str) -> ArtifactError:
        """Return the error that says what is wrong with the image."""
        return ArtifactError(str(self._path), problem)

    def has(self, name: str) -> bool:
        """Say whether there is such a part."""
        return (self._path / name).exists()

    def size(self, name: str) -> int:
        """Return a part's size in bytes."""
        with self._open(name) as file:
            return file.size

    def document(self, name: str) -> bytes:
        """Return all bytes of a part; raises ArtifactError where they are more than any JSON of an image."""
        with self._open(name) as file:
            check_document(self, name, file.size)
            return file.read_at(0, file.size)

    def extent(self, name: str) -> Extent:
        """Return the file that a part is."""
        with self._open(name) as file:
            return Extent(path=file.path, size=file.size)

    def target(self, name: str) -> str:
        """Return the name: there are no links."""
        return name

    def read_early(self, reader: EarlyReader[T]) -> dict[str, T]:
        """Return nothing: each part can be read by itself."""
        return {}

    def read_all(self, names: Sequence[str], reader: Reader[T]) -> list[T]:
        """Return what `reader` makes of each part, in order, on all cores."""

        def read(position: int, name: str) -> T:
            with self._open(name) as file:
                return reader(position, file.chunks(0, file.size), file.size)

        return list(self._pool.map(read, range(len(names)), names))

    @contextmanager
    def _open(self, name: str) -> Iterator[SharedFile]:
        """Open a part; no link is followed, which might lead out of the folder."""
        place = self._path
        for part in name.split("/"):
            place /= part
            if place.is_symlink():
                raise self.fault(f"has a link {place.relative_to(self._path).as_posix()!a} where a file or folder belongs")
        if not place.exists():
            raise lacking(self, name)
        with closing(SharedFile(place)) as file:
            yield file


class _Faulty(Protocol):
    def fault(self, problem: str) -> ArtifactError: ...


def check_document(layout: _Faulty, name: str, size: int) -> None:
    """Raise ArtifactError where a part is too large to be JSON of an image."""
    if size > _LARGEST_DOCUMENT:
        raise layout.fault(f"has {name!a} of {size:,} bytes, more than any JSON of an image")


def lacking(layout: _Faulty, name: str) -> ArtifactError:
    """Return the error that says that a part is missing."""
    return layout.fault(f"lacks {name[:200]!a}, which it names; the image is not whole: save or copy it again")
