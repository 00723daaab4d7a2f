"""Wheels that were finished before: the same wheel, configuration and tools give the same result, which is copied, not made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .cache import Cache
from .errors import ManifestError
from .manifest import Manifest

_WHEEL = "wheel"
_MANIFEST = "manifest"
LARGEST = 4
"""A wheel larger than the cache's limit divided by this is not kept: it would drive out everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A result: the manifest and its JSON text, and a file with the wheel's bytes, None where they are those of the original."""

    manifest: Manifest
    text: bytes
    wheel: Path | None


def recall(cache: Cache, key: str) -> Finished | None:
    """Return the result under this key, or None."""
    entry = cache.get(key)
    if entry is None:
        return None
    try:
        text = entry.files[_MANIFEST].read_bytes()
        return Finished(manifest=Manifest.from_json(text), text=text, wheel=entry.files.get(_WHEEL))
    except (KeyError, OSError, ManifestError):
        return None


def remember(cache: Cache, key: str, manifest: Manifest, text: bytes, wheel: Path, folder: Path) -> None:
    """Keep a result; `folder` is an empty one for copies, so that nobody who writes to the wheel later writes into the cache."""
    before, after = manifest.artifact.before, manifest.artifact.after
    if after.size > cache.max_size // LARGEST:
        return
    files = {_MANIFEST: folder / _MANIFEST}
    files[_MANIFEST].write_bytes(text)
    known = {}
    if after.sha256 and after.sha256 != before.sha256:
        files[_WHEEL] = folder / _WHEEL
        shutil.copyfile(wheel, files[_WHEEL])
        known[_WHEEL] = after.sha256
    cache.put(key, None, files, known)
