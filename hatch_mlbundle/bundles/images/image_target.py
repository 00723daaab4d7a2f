"""Where an image is written: a folder, or a tar file that may be compressed as a whole; both are OCI image layouts (image-layout.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tarfile import GNU_FORMAT, TarInfo
from typing import BinaryIO, Protocol, TypeAlias

from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.bundles.archives.gzip_stream import write_gzip
from hatch_mlbundle.bundles.archives.zstd_stream import load_zstd, write_zstd
from hatch_mlbundle.bundles.atomic_folder import remove_folder
from hatch_mlbundle.epoch import source_date_epoch
from hatch_mlbundle.model import Content

from .extent import Extent
from .layer_writer import END
from .tar_format import BLOCK, FOLDER

ARCHIVES = {".tar": "", ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd"}
"""How a tar file is compressed, by what its name ends in."""
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 3
"""Of a whole archive, in which nearly everything is packed already."""

Parts: TypeAlias = Mapping[str, tuple[Content, int]]
"""The parts of a layout by their names, in order, each with its size in bytes."""


class Target(Protocol):
    """Where an image is being written; `blobs` is a folder for files that `write` may take as they are."""

    blobs: Path

    def write(self, parts: Parts) -> None:
        """Write the parts of the image, all at once; raises as their contents do, and StorageError."""


@contextmanager
def writing_image(target: Path, scratch: Path, workers: int) -> Iterator[Target]:
    """Create what writes an image to `target`, a folder unless its name ends as that of a tar file; `scratch` is a folder for what waits.

    Where the body raises, nothing is left of it; what a killed process leaves is for whoever chose the name to clear away (replacing.py).
    Raises FileExistsError where something is there, StorageError, MissingLibraryError.
    """
    packing = packing_of(target)
    with _writing_folder(target) if packing is None else _writing_tar(target, scratch, packing, workers) as output:
        yield output


def packing_of(target: Path) -> str | None:
    """Return how a tar file of this name is compressed: "" (not at all), "gzip" or "zstd"; None where the name is that of a folder."""
    return next((packing for end, packing in ARCHIVES.items() if target.name.lower().endswith(end)), None)


@contextmanager
def _writing_folder(target: Path) -> Iterator[Target]:
    target.mkdir()
    try:
        blobs = target / "blobs/sha256"
        blobs.mkdir(parents=True)
        yield _FolderTarget(target, blobs)
    except BaseException:
        remove_folder(target)
        raise


@contextmanager
def _writing_tar(target: Path, scratch: Path, packing: str, workers: int) -> Iterator[Target]:
    if packing == "zstd":
        load_zstd()
    make_folder(scratch)
    with tempfile.TemporaryDirectory(dir=scratch) as blobs, target.open("xb") as stream:
        try:
            yield _TarTarget(stream, Path(blobs), packing, workers)
            stream.flush()
        except BaseException:
            target.unlink()
            raise


class _FolderTarget:
    def __init__(self, root: Path, blobs: Path) -> None:
        self._root = root
        self.blobs = blobs

    def write(self, parts: Parts) -> None:
        for name, (content, _) in parts.items():
            place = self._root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if file := _made(content, self.blobs):
                file.replace(place)
                continue
            with place.open("xb") as stream:
                for chunk in content.chunks():
                    stream.write(chunk)


class _TarTarget:
    def __init__(self, stream: BinaryIO, blobs: Path, packing: str, workers: int) -> None:
        self._stream = stream
        self._packing = packing
        self._workers = workers
        self.blobs = blobs

    def write(self, parts: Parts) -> None:
        write = self._stream.write
        if self._packing == "gzip":
            write_gzip(_tar(parts, self.blobs), write, level=_GZIP_LEVEL, workers=self._workers)
        elif self._packing == "zstd":
            write_zstd(_tar(parts, self.blobs), write, size=None, level=_ZSTD_LEVEL, window=0, workers=self._workers)
        else:
            for chunk in _tar(parts, self.blobs):
                write(chunk)


def _tar(parts: Parts, made: Path) -> Iterator[bytes]:
    """Yield the tar file of these parts, with the folders that they lie in before them; what lies in `made` goes when it is in."""
    folders: set[str] = set()
    for name, (content, size) in parts.items():
        steps = name.split("/")[:-1]
        for folder in ("/".join(steps[: depth + 1]) for depth in range(len(steps))):
            if folder not in folders:
                folders.add(folder)
                yield _header(f"{folder}/", 0, 0o755, FOLDER)
        yield _header(name, size, 0o644, b"0")
        yield from content.chunks()
        yield bytes(-size % BLOCK)
        if file := _made(content, made):
            file.unlink()
    yield END


def _made(content: Content, folder: Path) -> Path | None:
    """Return the file in a folder that has a content, None where it lies elsewhere."""
    return content.path if isinstance(content, Extent) and content.path.parent == folder else None


def _header(name: str, size: int, mode: int, kind: bytes) -> bytes:
    info = TarInfo(name)
    info.size, info.mode, info.type, info.mtime = size, mode, kind, max(source_date_epoch(), 0)
    return info.tobuf(GNU_FORMAT, "ascii", "strict")
