"""Fetch what a store lacks of a model from the model's sources: file by file, or as an archive."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial

from ..progress_line import Progress
from . import archive
from .checking import Told
from .descriptor import Model, ModelFile
from .errors import ModelFileError, ModelUnavailableError
from .fetch import fetch
from .making import Making
from .transports import url_of


def fetch_missing(making: Making) -> None:
    """Fetch what is missing: file by file, or as an archive where that is the first source, and in the other way where that fails."""
    model = making.model
    ways = [_fetch_files] if all(_urls(file, model) for file in model.files) else []
    ways += [_fetch_archive] if model.archive and _urls(model.archive, model, of_archive=True) else []
    if model.sources and _is_archive(model.sources[0]):
        ways.reverse()
    if shutil.disk_usage(making.root).free < making.lacking():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    failures = []
    with Progress(model.name, sum(file.size for file in making.missing())) as told:
        for way in ways:
            try:
                return way(making, told)
            except (ModelUnavailableError, ModelFileError) as error:
                failures.append(str(error))
    raise ModelUnavailableError("; ".join(failures) or "no source is known to fetch it from")


def _fetch_files(making: Making, told: Told) -> None:
    for file in making.missing():
        if not making.complete(file, partial(fetch, file, _urls(file, making.model), told=told)):
            told(file.size)  # another process did it


def _fetch_archive(making: Making, told: Told) -> None:
    """Fetch the archive whole, so that its own SHA-256 is checked before it is read."""
    file = making.model.archive
    assert file is not None  # noqa: S101 - what mypy cannot see
    with making.incomplete(file) as place:
        if making.missing():
            fetch(file, _urls(file, making.model, of_archive=True), place.descriptor, told)
            with open(place.descriptor, "rb", closefd=False) as stream:
                stream.seek(0)
                archive.read(stream, making.model, file.path, making.take)
        place.discard()


def _urls(file: ModelFile, model: Model, *, of_archive: bool = False) -> list[str]:
    """Return where a file may be, its own sources first; those of an archive are no folders that it could be in."""
    sources = [source for source in model.sources if _is_archive(source) == of_archive]
    return [url_of(source, model, file) for source in (*file.sources, *sources)]


def _is_archive(source: str) -> bool:
    return source.partition("?")[0].endswith(".tar")
