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
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from .. import place_lock
from ..file_actions import remove_tree
from .checking import fault, loaded_from
from .descriptor import Model
from .errors import ModelUnavailableError
from .folders import STORE, roots, writable_root
from .making import FULL, Making, held, ready_path

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
    return find(model) or _made(model, _fetch_missing)


def unpacked(model: Model, source: str) -> Path:
    """Return the model from the store, where it is not there yet out of a tar file. Raises ModelFileError, OSError."""
    if found := find(model):
        return found
    with open(source, "rb") as stream:
        return _made(model, partial(_read_archive, stream, source))


def sweep(root: str, seconds: float = _ABANDONED) -> None:
    """Take away what killed processes left as many seconds ago, and that none goes on with. Raises OSError."""
    with held(root):
        for entry in os.scandir(os.path.join(root, "partial")):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < seconds:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    remove_tree(entry.path)
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
    except OSError as error:
        if isinstance(error, ModelUnavailableError):
            raise
        if error.errno in FULL:
            told = f"there is no space for its {model.size:,} bytes at {making.root}; free some, or set {STORE} to a folder on another disk"
        else:
            told = f"the store {making.root} cannot be used ({error}); set {STORE} to a folder that can"
        raise ModelUnavailableError(f"{model.name}: {told}") from error
    with contextlib.suppress(OSError):  # the model is there
        sweep(making.root)
    return loaded_from(making.ready, model)


def _fetch_missing(making: Making) -> None:
    try:
        from .fetching import fetch_missing
    except ImportError as error:  # frozen applications have what their own modules import
        raise ModelUnavailableError(f"nothing can be fetched, for the application was frozen without {error.name}") from error
    fetch_missing(making)


def _read_archive(stream: IO[bytes], source: str, making: Making) -> None:
    from . import archive

    stream.seek(0)
    archive.read(stream, making.model, source, making.take)
