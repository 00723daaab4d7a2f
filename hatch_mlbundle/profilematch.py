"""Tell of each file of a bundle whether the runs that a profile records used it, also where the two are laid out differently.

The profile of a frozen application fits frozen bundles path by path, that of a virtual environment wheels; across the two, modules are
compared by their dotted names, whatever file provides them, and other files by where they lie below the packages' folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from .filegroups import is_metadata
from .frozenmodules import FrozenModules
from .importpaths import companion_of, installed, module_of
from .profile import Profile

_SHARE = 0.5
"""A profile that does not fit more than this share of the files is of another application."""

_METADATA = re.compile(r"(.*?/|)[^/]+\.(?:dist|egg)-info/")


class ProfileMatch:
    """A profile beside a bundle: `unknown` are files of the bundle that it does not list, `missing` what it lists as used and is not there.

    `foreign` says that it is of another application; where nothing is missing it is of the same, however many files are new. Metadata,
    whose folder is called by the version, does not count; nor, where one of the two is no frozen bundle, do the files of packages that the
    other has nothing of.
    """

    def __init__(self, profile: Profile, paths: Collection[str]) -> None:
        theirs, ours = _Layout(profile.inventory), _Layout(paths)
        across = theirs.frozen != ours.frozen
        keys = {path: ours.key(path, across=across) for path in sorted(paths)}
        known = {path: theirs.key(path, across=across) for path in sorted(profile.inventory)}
        used = {known[path] for path in profile.used} | {theirs.source_key(path, across=across) for path in profile.used}
        asked = {known[path] for path in profile.asked} - used
        listed = set(known.values())
        self._used = frozenset(path for path, key in keys.items() if key in used)
        self._asked = frozenset(path for path, key in keys.items() if key in asked)
        self._unused = frozenset(path for path, key in keys.items() if key in listed and key not in used and key not in asked)
        shared = set(map(_top, keys.values())) & set(map(_top, listed))
        is_ours = _counting(shared if across or not ours.frozen else None)
        counted = [path for path, key in keys.items() if _counting(shared if across else None)(path, key)]
        self.unknown = tuple(path for path in counted if keys[path] not in listed)
        wanted = [path for path, key in known.items() if path in profile.used and is_ours(path, key)]
        there = set(keys.values())
        self.missing = tuple(path for path in wanted if known[path] not in there)
        mostly_new = bool(self.missing) and len(self.unknown) > _SHARE * len(counted)
        self.foreign = not wanted or len(self.missing) > _SHARE * len(wanted) or mostly_new

    def is_used(self, path: str) -> bool:
        """Say whether a run used this file of the bundle."""
        return path in self._used

    def is_asked(self, path: str) -> bool:
        """Say whether the runs only asked for this file, whether it is there."""
        return path in self._asked

    def is_unused(self, path: str) -> bool:
        """Say whether this file of the bundle was there when the runs were traced, and none of them used it or asked for it."""
        return path in self._unused


class _Layout:
    """How the files of a bundle are called, wherever its packages lie."""

    def __init__(self, paths: Collection[str]) -> None:
        modules = FrozenModules(paths)
        self.frozen = bool(modules.archives)
        self._roots = [modules.contents] if self.frozen else _package_folders(paths)

    def key(self, path: str, *, across: bool) -> str:
        """Return what a file is called: its path below the folder of packages, or the module that it provides to compare `across`."""
        module = module_of(path) if across else None
        if module is not None:
            return f"{self._below_root(module)}:"
        return self._below_root(path if self.frozen and not across else installed(path))

    def source_key(self, path: str, *, across: bool) -> str:
        """Return the key of the source of a cached bytecode file, of any other the file's own: who reads the one uses the other."""
        source = companion_of(path) if path.endswith(".pyc") and not self.frozen else None
        return self.key(f"{source}.py" if source else path, across=across)

    def _below_root(self, path: str) -> str:
        return next((path.removeprefix(root) for root in self._roots if path.startswith(root)), path)


def _package_folders(paths: Collection[str]) -> list[str]:
    """Return the folders with the metadata of distributions, each with a `/` at its end, the deepest first."""
    folders = {match[1] for path in paths if (match := _METADATA.match(installed(path)))}
    return sorted(folders, key=lambda root: (-len(root), root))


def _counting(tops: Collection[str] | None) -> Callable[[str, str], bool]:
    """Return a function that says whether a file (its path and key) counts; `tops` are the packages that do, None stands for all."""
    return lambda path, key: not is_metadata(path) and companion_of(path) is None and (tops is None or _top(key) in tops)


def _top(key: str) -> str:
    return key.partition("/")[0].partition(".")[0].removesuffix(":")
