"""What there is in an application, and which of it the paths stand for that a run used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, normpath

from hatch_mlbundle.bundles.folder_scan import list_tree, parents


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The files below `root`, links among them, by path with their sizes in bytes; `links` have the real paths of what they point to."""

    root: Path
    files: Mapping[str, int]
    links: Mapping[str, str]
    folders: frozenset[str]

    def used(self, paths: Iterable[str]) -> frozenset[str]:
        """Return which files are in use when these paths are, relative to the root and as a program writes them.

        What a link points to is used with the link, and a link with what it points to: who opened that through it is not seen. Of a
        folder that was asked for and of which no file is used, the smallest file counts as used, so that the folder stays.
        """
        found: set[str] = set()
        folders: set[str] = set()
        for path in paths:
            for each in self._meant(path):
                (found if each in self.files else folders).add(each)
        found |= self._smallest(folders - _around(found))
        inside = _around(found)
        return frozenset(found | {link for link, target in self.links.items() if target in found or target in inside})

    def holding(self) -> list[str]:
        """Return the folders that hold files directly, "" for the root."""
        return sorted({dirname(path) for path in self.files})

    def _meant(self, path: str) -> Iterator[str]:
        """Yield the files and folders of the inventory that a path leads to or through."""
        path = normpath(path.replace(os.sep, "/"))
        if path in self.files:
            yield path
            if path in self.links:
                yield from self._known(self.links[path])
        elif path in self.folders:
            yield path
        else:
            passed = next((each for each in parents(path) if each in self.links), None)
            if passed is not None:
                yield passed
                yield from self._meant(f"{self.links[passed]}{path[len(passed) :]}")

    def _known(self, path: str) -> Iterator[str]:
        if path in self.files or path in self.folders:
            yield path

    def _smallest(self, folders: set[str]) -> set[str]:
        if not folders:
            return set()
        best: dict[str, tuple[int, str]] = {}
        for path, size in self.files.items():
            for folder in folders.intersection(parents(path)):
                best[folder] = min(best.get(folder, (size, path)), (size, path))
        return {path for _, path in best.values()}


def _around(paths: Iterable[str]) -> set[str]:
    """Return the folders that paths lie in."""
    return {folder for path in paths for folder in parents(path)}


def read_inventory(root: Path) -> Inventory:
    """Return what is in a folder; raises ArtifactError where it cannot be read."""
    listing, real = list_tree(root), os.path.realpath(root)
    files, links = {}, {}
    for path in listing.files:
        place = f"{root}{os.sep}{path}"
        if os.path.islink(place):  # noqa: PTH114 - thousands of them
            files[path] = 0
            links[path] = os.path.relpath(os.path.realpath(place), real).replace(os.sep, "/")
        else:
            files[path] = os.stat(place).st_size  # noqa: PTH116 - the same
    return Inventory(root=root, files=files, links=links, folders=frozenset(listing.folders))
