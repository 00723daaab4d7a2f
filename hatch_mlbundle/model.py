"""The values that every part speaks in: files, bundles, changes and findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from .printable import printable

CHUNK = 1 << 20
"""Bytes read or written at a time wherever content is streamed."""


class Kind(str, Enum):
    """What a file is, by its bytes where they tell, else by its name."""

    ELF = "elf"
    PE = "pe"
    MACHO = "mach-o"
    STATIC_LIBRARY = "static-library"
    PYTHON = "python"
    BYTECODE = "bytecode"
    TYPE_STUB = "type-stub"
    SOURCE = "source"
    HEADER = "header"
    BUILD = "build"
    MODEL = "model"
    ARCHIVE = "archive"
    DATA = "data"
    TEXT = "text"
    IMAGE = "image"
    METADATA = "metadata"
    FROZEN = "frozen"
    LINK = "link"
    OTHER = "other"


class Content(Protocol):
    """Where a file's bytes are. Reading changes nothing, and many threads may read at once."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes from the start, at most `CHUNK` at a time; raises MlbundleError where they are damaged."""

    def local_path(self) -> Path | None:
        """Return the path of a file on disk that holds exactly these bytes, or None; such a file is never written to."""


@dataclass(frozen=True, slots=True)
class MemoryContent:
    """Bytes held in memory: for small things that an optimizer made."""

    data: bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, at most `CHUNK` at a time."""
        for start in range(0, len(self.data), CHUNK):
            yield self.data[start : start + CHUNK]

    def local_path(self) -> Path | None:
        """Return None: there is no file."""
        return None


@dataclass(frozen=True, slots=True)
class DiskContent:
    """Bytes in a file on disk."""

    path: Path

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes, at most `CHUNK` at a time; raises OSError."""
        with self.path.open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk

    def local_path(self) -> Path | None:
        """Return the file's path."""
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of a bundle.

    `path` is relative to the bundle's root, with `/` between its parts; `size` is in bytes as installed; `sha256` is the
    hex digest of the bytes; `mode` holds the permission bits; `owner` is the distribution or top-level package it belongs to.
    A symbolic link has `link` (its target as written), kind LINK and no bytes. `rights` differs where, beside the mode, something decides
    who may do what with the file: its owner in a container. `modified` is when its bytes were made, in seconds since 1970, where that
    matters: Python takes bytecode for stale by its source's time.

    The modules inside a frozen executable are files too, `FOLDER/EXECUTABLE.pyz/pkg/mod.pyc` (importpaths.py) of kind BYTECODE:
    `size` is what the module takes in the executable, compressed; its content is the marshalled code, without the header of a
    `.pyc` file. The executable itself, of kind FROZEN, is then what is left of it.
    """

    path: str
    size: int
    sha256: str
    mode: int
    kind: Kind
    owner: str
    content: Content
    link: str | None = None
    rights: str = ""
    modified: int | None = None

    def read(self) -> bytes:
        """Return all bytes at once: for files known to be small."""
        return b"".join(self.content.chunks())


class Bundle(Mapping[str, File]):
    """An immutable map from path to File, in the order of the artifact it was read from."""

    __slots__ = ("_files",)

    def __init__(self, files: Iterable[File] = ()) -> None:
        self._files = {file.path: file for file in files}

    def __getitem__(self, path: str) -> File:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def size(self) -> int:
        """Bytes as installed, of all files together."""
        return sum(file.size for file in self._files.values())

    def of_kind(self, *kinds: Kind) -> list[File]:
        """Return the files of these kinds, in order."""
        return [file for file in self._files.values() if file.kind in kinds]

    def without(self, paths: Iterable[str]) -> Bundle:
        """Return a bundle that lacks these paths."""
        dropped = frozenset(paths)
        return Bundle(file for path, file in self._files.items() if path not in dropped)

    def replacing(self, files: Iterable[File]) -> Bundle:
        """Return a bundle in which these files stand under their paths: replaced in place, or added at the end."""
        return Bundle([*self._files.values(), *files])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Leave the file out."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Change nothing, and say why a file that looks droppable stays."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """Let the optimizer's `rewrite` make the file anew.

    `saves` is the number of bytes it expects to save, None where only doing it tells. `key` names whatever beside the
    file's own bytes and the options decides the result, so that the cache can tell two such results apart.
    """

    path: str
    reason: str
    saves: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Put a new file in; its path must be free."""

    path: str
    reason: str
    content: Content
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Make the file a symbolic link to `target`, relative to the file's own folder."""

    path: str
    reason: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Convert:
    """Let the optimizer's `convert` make new files out of some that belong together: all of it is carried out, or nothing.

    `sources` are the files it makes anew: one that is not written again goes. `outputs` are the paths that it may write, a source's
    own or free ones; `reads` are other files that it looks at, which stay as they are. `path` is the one of all these that the change is
    about: the step's `include` and `exclude` are asked about it alone. With `may_grow` the outputs need not be smaller. `saves` and `key`
    are as in Rewrite.
    """

    path: str
    reason: str
    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    reads: tuple[str, ...] = ()
    may_grow: bool = False
    saves: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Take a model out of the bundle: all files at `paths`, or none of them. It is written beside the artifact in `form`, if there is one.

    `path` is the one of them that the change is about. Outside, the model is called `name`, and has `files`: those below the folder
    `place`, or the one there where it `is_file`; in place of a link the file that it leads to.
    """

    path: str
    reason: str
    paths: tuple[str, ...]
    name: str
    place: str
    is_file: bool
    files: tuple[File, ...]
    form: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Write a file that tells which models left by the same step, new or in the place of another.

    `render` takes those that did leave, and returns the bytes, None where the file is to stay as it is, or is not to be. It is asked again
    whenever one of them is put back, or what an earlier step made of its files is.
    """

    path: str
    reason: str
    render: Callable[[Collection[Leave]], bytes | None]


Change: TypeAlias = Drop | Keep | Rewrite | Add | Link | Convert | Leave | Tell
"""What a step may ask for; by Leave and Tell, which are no part of the API for plugins, our own `externalize` takes models out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a person should know of, under a stable code (docs/findings.md); `strict = true` makes it fail the build."""

    code: str
    message: str
    path: str | None = None
    optimizer: str | None = None

    def line(self) -> str:
        """Return the finding as one line for a person, of printable characters."""
        where = ": ".join(each for each in (self.optimizer, self.path) if each)
        return printable(f"{self.code} {where + ': ' if where else ''}{self.message}")
