"""The modules of a frozen bundle by their dotted names: inside executables, beside them as source, and compiled."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from posixpath import basename

from .importpaths import PYZ, companion_of, installed, is_compiled, module_of

_ARCHIVE = re.compile(rf"(.*/|)[^/]+{re.escape(PYZ)}/")
_NAME = re.compile(r"[A-Za-z_]\w*")


def archive_of(path: str) -> str | None:
    """Return the folder under which the modules of an executable stand, where the path lies in one: `_internal/app.pyz/`."""
    match = _ARCHIVE.match(path)
    return match[0] if match else None


class FrozenModules:
    """Which files of a frozen bundle provide which module.

    Python looks for modules in an executable's archive, and in the folder of contents (`contents`, with a `/` at its end, or
    empty) beside it; both are searched from their top.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        everything = sorted(paths)
        self.archives = sorted({archive for path in everything if (archive := archive_of(path))})
        self.contents = next((match[1] for archive in self.archives if (match := _ARCHIVE.match(archive))), "")
        self.files: dict[str, list[str]] = defaultdict(list)
        self._names: dict[str, str] = {}
        self._packages: set[str] = set()
        self._holders: dict[str, set[str]] = defaultdict(set)
        for path in everything:
            self._add(path)

    def _add(self, path: str) -> None:
        module = module_of(path) or companion_of(path)
        library = is_compiled(path) and basename(path).startswith("lib")
        if module is None or library or not path.startswith(self.contents):
            return
        parts = module[len(self.contents) :].split("/")
        if not all(map(_NAME.fullmatch, parts)):
            return
        name = ".".join(parts)
        self._names[path] = name
        self.files[name].append(path)
        if archive := archive_of(path):
            self._holders[parts[0]].add(archive)
        if basename(path).startswith("__init__."):
            self._packages.add(name)

    def name(self, path: str) -> str | None:
        """Return the dotted name of the module that a file provides or goes with, None for any other file."""
        return self._names.get(path)

    def folder(self, path: str) -> str:
        """Return the dotted name of the folder that a file lies in."""
        return installed(path)[len(self.contents) :].rpartition("/")[0].replace("/", ".")

    def is_package(self, name: str) -> bool:
        """Say whether a module is a package with an `__init__`."""
        return name in self._packages

    def holders(self, name: str) -> set[str]:
        """Return the archives that hold any module of the same top-level package."""
        return self._holders[name.partition(".")[0]]

    def above(self, name: str) -> Iterator[str]:
        """Yield the packages that are imported before a module."""
        while name := name.rpartition(".")[0]:
            if name in self.files:
                yield name

    def resolve(self, importer: str, level: int, module: str, names: Iterable[str]) -> list[str]:
        """Return the modules of the bundle that `from {'.' * level}{module} import {names}` loads when it stands in `importer`."""
        base = module
        if level:
            parts = importer.split(".")
            parts = parts[: len(parts) - level + (importer in self._packages)]
            base = ".".join([*parts, module] if module else parts)
        return [name for name in (base, *(f"{base}.{each}" for each in names)) if name in self.files]
