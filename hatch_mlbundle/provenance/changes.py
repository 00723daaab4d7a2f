"""What became of a wheel's files, as documents that tell of them need it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from hatch_mlbundle.model import Bundle, File


@dataclass(frozen=True, kw_only=True)
class FileChanges:
    """A bundle before and after. What was dropped under one path but is there under another is not gone."""

    before: Bundle
    after: Bundle

    @cached_property
    def touched(self) -> Mapping[str, File]:
        """The files that were dropped or have other bytes now, as they were, by path."""
        return {path: file for path, file in self.before.items() if path not in self.after or self.after[path].sha256 != file.sha256}

    @cached_property
    def _paths(self) -> Mapping[str, list[str]]:
        paths: defaultdict[str, list[str]] = defaultdict(list)
        for path, file in self.before.items():
            paths[file.sha256].append(path)
        return paths

    def with_sha256(self, sha256: str) -> list[str]:
        """Return the paths of the files that had these bytes."""
        return self._paths.get(sha256.lower(), [])

    def found(self, location: str) -> str | None:
        """Return the path in the wheel that a document means by a location, None where it is no file that was there."""
        path = location.removeprefix("./").lstrip("/")
        return path if path in self.before else None

    def all_gone(self, paths: Iterable[str]) -> bool:
        """Say whether none of these files is there any more."""
        return all(path not in self.after for path in paths)


_NAMES = {"BLAKE2b-256": "blake2b", "BLAKE2b-384": "blake2b", "BLAKE2b-512": "blake2b"}


def hash_of(file: File, algorithm: str) -> str | None:
    """Return a file's hash in hex by CycloneDX's name of the algorithm (`SHA-256`, `SHA3-512`, ...), None where Python has no such one."""
    if algorithm == "SHA-256":
        return file.sha256
    result = _hasher(algorithm)
    if result is None:
        return None
    for chunk in file.content.chunks():
        result.update(chunk)
    return result.hexdigest()


def _hasher(algorithm: str) -> hashlib._Hash | None:
    if algorithm in _NAMES:
        return hashlib.blake2b(digest_size=int(algorithm.rpartition("-")[2]) // 8)  # type: ignore[return-value]
    name = algorithm.lower().replace("sha-", "sha") if algorithm.startswith("SHA-") else algorithm.lower().replace("-", "_")
    if name not in hashlib.algorithms_guaranteed or name.startswith("shake"):
        return None
    return hashlib.new(name, usedforsecurity=False)
