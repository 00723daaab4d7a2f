"""Put a new image in the place of an old one: whole or not at all, whichever of its forms it has."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hatch_mlbundle.atomic import leftovers, make_folder, temporary_name
from hatch_mlbundle.bundles.atomic_folder import remove_folder, replace_folder
from hatch_mlbundle.bundles.folder import check_target
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.storage import storage_errors

from .image_target import ARCHIVES, packing_of


def is_archive(target: Path) -> bool:
    """Say whether an image of this name is written as a tar file; any other is a folder."""
    return packing_of(target) is not None


def check_image_target(source: Path, target: Path) -> None:
    """See whether the result of optimizing the image `source` may go to `target`; raises ArtifactError."""
    if not is_archive(target):
        if source.is_file() and target.resolve() == source.resolve():
            raise ArtifactError(str(source), f"has no name of an archive, as {', '.join(ARCHIVES)} are; give the result one with --output")
        if target.is_file():
            raise ArtifactError(str(target), "is a file there already, and an image of this name is written as a folder; name it .tar")
        if source.is_dir():
            check_target(source, target)
        elif target.exists():
            raise ArtifactError(str(target), "is there already; remove it or choose another name")
    elif target.is_dir():
        raise ArtifactError(str(target), "is a folder, and an image of this name is written as a file; choose another name")


@contextmanager
def replacing_image(target: Path) -> Iterator[Path]:
    """Give a free name to write an image to, of the form that the target's name asks for; it takes its place when the body ends well.

    Whatever is raised, the target stays as it was. Raises StorageError where the file system refuses.
    """
    if not is_archive(target):
        with replace_folder(target) as partial:
            yield partial
        return
    folder = temporary_name(target, "partial")
    with storage_errors(target):
        make_folder(target.parent)
        for path in leftovers(target, "partial"):
            remove_folder(path)
        folder.mkdir()
        try:
            yield folder / target.name
            _settle(folder / target.name, target)
            (folder / target.name).replace(target)
        finally:
            remove_folder(folder)


def _settle(new: Path, target: Path) -> None:
    """Bring the bytes to the disk before the rename does, and keep the permission bits of what is replaced."""
    with new.open("rb") as stream:
        os.fsync(stream.fileno())
    if target.exists():
        new.chmod(stat.S_IMODE(target.stat().st_mode))
