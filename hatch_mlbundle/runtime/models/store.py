"""The store: models by their content, each whole or not there, shared by all applications of a user.

    blobs/SHA256           a file that was checked, for all models that have it
    ready/DIGEST/NAME/     a model that can be loaded from; its files are clones of blobs, hard links to them, or were blobs
    partial/               what is not finished
    lock                   held while files go from one of these folders to another

Whatever has its name in `blobs`, `ready` and `partial/DIGEST.files` is whole and on the disk: it got there by renaming.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import place_lock
from . import archive
from .checking import fault, loaded_from
from .descriptor import Model, ModelFile
from .errors import ModelFileError, ModelUnavailableError
from .fetch import Told, fetch
from .folders import STORE, roots, writable_root
from .making import FULL, Making, held, ready_path
from .progress import Progress
from .transports import url_of

_ARCHIVE = ".tar"
_ABANDONED = 7 * 24 * 3600
"""Seconds after which nobody is thought to go on with what a killed process left."""


def find(model: Model) -> Path | None:
    """Return the model's folder (its file, where it is one) in a store, None where it is not there; writes nothing."""
    paths = (ready_path(root, model) for root in roots())
    return next((loaded_from(path, model) for path in paths if not fault(path, model)), None)


def obtain(model: Model) -> Path:
    """Return the model from the store, fetched where it is not there yet: by one process, while all others wait for it.

    Raises ModelUnavailableError, ModelFileError, OSError.
    """
    return find(model) or _made(model, _fetched)


def unpacked(model: Model, source: str) -> Path:
    """Return the model from the store, where it is not there yet out of a tar file. Raises ModelFileError, OSError."""
    return find(model) or _made(model, partial(_read_archive, source))


def sweep(root: str, seconds: float = _ABANDONED) -> None:
    """Take away what killed processes left as many seconds ago, and that none goes on with. Raises OSError."""
    with held(root):
        for entry in os.scandir(os.path.join(root, "partial")):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < seconds:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    place_lock.remove_idle(entry.path)


def _made(model: Model, fill: Callable[[Making], None]) -> Path:
    """Make a model in the first store that can be written, from files that are there or that `fill` gets."""
    making = Making(writable_root(), model)
    try:
        while not making.finish():  # also where files that were there were taken away meanwhile
            making.reuse()
            if making.missing():
                fill(making)
        sweep(making.root)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_space(making) from error
    return loaded_from(making.ready, model)


def _no_space(making: Making) -> ModelUnavailableError:
    model = making.model
    told = f"{model.name}: there is no space for its {model.size:,} bytes at {making.root}"
    return ModelUnavailableError(f"{told}; free some, or set {STORE} to a folder on another disk")


def _read_archive(source: str, making: Making) -> None:
    with open(source, "rb") as stream:
        archive.read(stream, making.model, source, making.take)


def _fetched(making: Making) -> None:
    """Fetch what is missing: file by file, or as an archive where that is the first source, and in the other way where that fails."""
    model = making.model
    ways = [_fetch_files] if all(_urls(file, model) for file in model.files) else []
    ways += [_fetch_archive] if _archive_urls(model) else []
    if model.sources and model.sources[0].endswith(_ARCHIVE):
        ways.reverse()
    if shutil.disk_usage(making.root).free < making.lacking():
        raise _no_space(making)
    failures = []
    with Progress(model.name, sum(file.size for file in making.missing())) as told:
        for way in ways:
            try:
                return way(making, told)
            except ModelUnavailableError as error:
                failures.append(str(error))
    raise ModelUnavailableError("; ".join(failures) or "no source is known to fetch it from")


def _fetch_files(making: Making, told: Told) -> None:
    for file in making.missing():
        making.complete(file, partial(fetch, file, _urls(file, making.model), told=told))


def _fetch_archive(making: Making, told: Told) -> None:
    """Fetch the archive whole, so that its own SHA-256 is checked before it is read."""
    file = making.model.archive
    assert file is not None  # noqa: S101 - what mypy cannot see
    with making.incomplete(file) as place:
        if making.missing():
            fetch(file, _archive_urls(making.model), place.descriptor, told)
            with open(place.descriptor, "rb", closefd=False) as stream:
                stream.seek(0)
                archive.read(stream, making.model, file.path, making.take)
        place.discard()


def _urls(file: ModelFile, model: Model) -> list[str]:
    """Return the URLs of a file; those of an archive are no folders that it could be in."""
    return [*file.sources, *(url_of(source, model, file) for source in model.sources if not source.endswith(_ARCHIVE))]


def _archive_urls(model: Model) -> list[str]:
    if model.archive is None:
        return []
    return [*model.archive.sources, *(url_of(source, model, model.archive) for source in model.sources if source.endswith(_ARCHIVE))]
