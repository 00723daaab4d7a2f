"""Whose a file in an image is, by what package managers wrote of their files; else by the folder that it lies in."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial

from hatch_mlbundle.bundles.record import recorded_files

from .package_facts import conda_package
from .tree import Effort, Folder, Leaf, Manager, TreeError, walk

_RECORD = ".dist-info/RECORD"
_DPKG = re.compile(r"var/lib/dpkg/info/([^/:]+)(?::[^/]+)?\.list")
"""One path a line (deb-md5sums(5) has the same of a package without folders; dpkg(1), FILES)."""
_DISTROLESS = re.compile(r"var/lib/dpkg/status\.d/([^/]+)\.md5sums")
"""`MD5  PATH` a line: what is left of dpkg in images without it."""
_APK = re.compile(r"(?:usr/)?lib/apk/db/installed")
"""Letter, colon, value: P a package, F a folder, R a file in it (Alpine's wiki, "Apk spec")."""

_ENDS = (".json", ".list", ".md5sums", "/installed")
"""How the names of all other listings end."""
_ORDER: tuple[Manager, ...] = ("system", "conda", "python")

_MOST_PLACES = 1 << 16
"""Folders of listings that are remembered at a time."""

_PACKAGES = re.compile(r"(?:.*/)?(?:site|dist)-packages/([^/]+)")
_INFO = re.compile(r"(.+?)-[^-]+(?:-py\d[^-]*)?\.(?:dist|egg)-info")
_PYTHON = re.compile(r"(?:.*/)?(?:lib/python\d+\.\d+/.*|lib/libpython[\d.]+\.so.*|include/python\d+\.\d+/.*|bin/python\d*(?:\.\d+)?)")


def is_listing(path: str) -> bool:
    """Say whether a file of this name may list the files of packages."""
    return _manager(path) is not None


def note_owners(root: Folder, files: Mapping[str, Leaf], effort: Effort) -> None:
    """Note in each file of a tree the package of which a listing in the tree names it; Python's RECORDs count most, then conda's lists."""
    prefix_of = lru_cache(_MOST_PLACES)(partial(_prefix, root, effort))
    listings = [(_ORDER.index(manager), path, manager) for path in files if (manager := _manager(path))]
    for _, path, manager in sorted(listings):
        stored = files[path].stored
        if stored is None or stored.listing is None:
            continue
        for listed, owner in _listed(path, stored.listing.decode("utf-8", "surrogateescape")):
            folder, name = listed.rpartition("/")[::2]
            prefix = prefix_of(folder)
            leaf = None if prefix is None else files.get(prefix + name)
            if leaf:
                leaf.owner, leaf.manager = owner, manager
                leaf.is_system |= manager == "system"


def owner_by_place(path: str) -> str:
    """Return the owner of a file that no listing names: a package's folder among Python's, "python" for its own, or the top folder."""
    match = _PACKAGES.match(path)
    if match:
        info = _INFO.fullmatch(match[1])
        return info[1] if info else match[1].removesuffix(".libs").removesuffix(".py")
    return "python" if _PYTHON.fullmatch(path) else path.partition("/")[0]


def _manager(path: str) -> Manager | None:
    """Return what lists files of packages in a file of this name, None where nothing does."""
    if path.endswith(_RECORD):
        return "python"
    if not path.endswith(_ENDS):
        return None
    if conda_package(path):
        return "conda"
    return "system" if any(pattern.fullmatch(path) for pattern in (_DPKG, _DISTROLESS, _APK)) else None


def _listed(path: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield the files that a listing names, each with its package."""
    if path.endswith(_RECORD):
        yield from recorded_files(path, io.StringIO(text, newline=""))
    elif match := conda_package(path):
        yield from ((match[1] + line, match[2]) for line in _lines(text))
    elif match := _DPKG.fullmatch(path):
        yield from ((line, match[1]) for line in _lines(text))
    elif match := _DISTROLESS.fullmatch(path):
        yield from ((line.partition("  ")[2], match[1]) for line in _lines(text))
    else:
        yield from _installed_by_apk(text)


def _installed_by_apk(text: str) -> Iterator[tuple[str, str]]:
    package = folder = ""
    for line in _lines(text):
        letter, _, value = line.partition(":")
        if letter == "P":
            package = value
        elif letter == "F":
            folder = value
        elif letter == "R":
            yield f"{folder}/{value}", package


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a listing one by one; only a line feed ends one."""
    return (line.rstrip("\n") for line in io.StringIO(text, newline="\n"))


def _prefix(root: Folder, effort: Effort, folder: str) -> str | None:
    """Return what paths in a folder begin with when no link is on the way (`/lib`: `usr/lib/`); None where there is no such folder."""
    try:
        effort.spend(len(folder))
        found, parts = walk(root, folder.split("/"), effort)
    except TreeError:
        return None
    return "".join(f"{part}/" for part in parts) if found else None
