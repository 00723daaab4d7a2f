"""Results kept from build to build, by content: what was once computed from the same input is not computed again.

An entry is a folder named after its key: `entry.json` (what is known of the result, under a checksum) and, beside it, the
result's files. Entries appear whole, by a rename, and are never changed, so that any number of builds can share the cache and
one killed at any moment leaves nothing half written. An entry that fails its checksums is removed and counts as missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from .canonical import digest, sha256_of_file
from .model import CHUNK

FORMAT = 2
"""Raised when entries of older releases can no longer be used."""

ABANDONED = 3600.0
"""Seconds after which an entry that a killed build left half written is swept away."""

_ENTRY = "entry.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A result found in the cache: `value` is what was stored as JSON, `files` the result's files by name, checked just now."""

    value: Any
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the cache holds: its folder, the number of entries and their bytes."""

    folder: Path
    entries: int
    size: int


class Cache:
    """A folder of results. Safe for many threads and processes at once."""

    def __init__(self, folder: Path, max_size: int) -> None:
        self.folder = folder / f"v{FORMAT}"
        self.max_size = max_size

    def get(self, key: str) -> Entry | None:
        """Return the result under this key, its files' hashes checked, or None where there is none or it is damaged."""
        place = self._place(key)
        try:
            entry = _read(place)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            shutil.rmtree(place, ignore_errors=True)  # else no `put` could ever take its place
            return None
        except OSError:  # not to be read just now, or not by us
            return None
        with contextlib.suppress(OSError):
            os.utime(place / _ENTRY)
        return entry

    def put(self, key: str, value: Any, files: Mapping[str, Path] | None = None, known: Mapping[str, str] | None = None) -> None:
        """Keep a result: `value` is JSON, `files` are linked or copied in. A cache that cannot be written to is no fault.

        `known` has SHA-256 digests of files, by name, that need not be computed once more.
        """
        place = self._place(key)
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=self.folder))
            try:
                _write(partial, value, files or {}, known or {})
                partial.rename(place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def usage(self) -> Usage:
        """Return how much the cache holds."""
        sizes = [size for _, size, _ in self._entries()]
        return Usage(folder=self.folder.parent, entries=len(sizes), size=sum(sizes))

    def prune(self, max_size: int | None = None) -> int:
        """Remove the entries used least recently until the rest fits; return the bytes removed. Sweeps what killed builds left."""
        self._sweep()
        entries = sorted(self._entries())
        excess = sum(size for _, size, _ in entries) - (self.max_size if max_size is None else max_size)
        removed = 0
        for _, size, place in entries:
            if removed >= excess:
                break
            shutil.rmtree(place, ignore_errors=True)
            removed += size
        return removed

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Yield last use, bytes and folder of each entry."""
        for place in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                sizes = [path.lstat().st_size for path in place.iterdir()]
                yield (place / _ENTRY).stat().st_mtime, sum(sizes), place

    def _sweep(self) -> None:
        for partial in self.folder.glob(".partial-*"):
            with contextlib.suppress(OSError):
                if time.time() - partial.stat().st_mtime > ABANDONED:
                    shutil.rmtree(partial, ignore_errors=True)


def default_folder() -> Path:
    """Return MLBUNDLE_CACHE_DIR, or else the user's cache folder for mlbundle."""
    return Path(os.environ.get("MLBUNDLE_CACHE_DIR") or platformdirs.user_cache_dir("mlbundle", appauthor=False))


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file that is never written to a second name: a hard link where the file system allows, else a copy.

    Raises FileExistsError where the name is taken: what stands there may be a link, too, and writing would go through it.
    """
    try:
        os.link(source, target)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy, CHUNK)


def _read(place: Path) -> Entry:
    document = json.loads((place / _ENTRY).read_bytes())
    body = document["body"]
    if digest(body) != document["checksum"]:
        raise ValueError("damaged entry")
    for name, sha256 in body["files"].items():
        if sha256_of_file(place / name) != sha256:
            raise ValueError("damaged file")
    return Entry(value=body["value"], files={name: place / name for name in body["files"]})


def _write(folder: Path, value: Any, files: Mapping[str, Path], known: Mapping[str, str]) -> None:
    for name, source in files.items():
        link_or_copy(source, folder / name)
    body = {"value": value, "files": {name: known.get(name) or sha256_of_file(folder / name) for name in files}}
    (folder / _ENTRY).write_text(json.dumps({"checksum": digest(body), "body": body}), encoding="ascii")
