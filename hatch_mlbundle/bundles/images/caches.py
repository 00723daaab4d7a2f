"""What programs keep only to be faster: their caches, by the places that they have for any user, and by marks in the folder.

From where the programs say, in their documentation, that they keep things; a home folder may be anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from posixpath import basename, dirname

OF_MODELS = {
    ".cache/huggingface": "Hugging Face",
    ".cache/torch": "PyTorch",
    ".cache/whisper": "Whisper",
    ".cache/clip": "CLIP",
    ".cache/modelscope": "ModelScope",
}
"""Caches of models, which a person wants to see as models."""
_ANYWHERE = {
    ".cache/pypoetry": "Poetry",
    ".cache/go-build": "Go",
    ".cache/huggingface/xet": "Hugging Face chunks",
    ".npm": "npm",
    ".yarn/berry/cache": "yarn",
    ".local/share/pnpm/store": "pnpm",
    ".ccache": "ccache",
    ".composer/cache": "composer",
    ".gradle/caches": "Gradle",
    ".m2/repository": "Maven",
    ".cargo/registry": "cargo",
    ".cargo/git": "cargo",
    "cargo/registry": "cargo",
    "cargo/git": "cargo",
    "go/pkg/mod": "Go modules",
    ".triton/cache": "Triton",
    ".nv/ComputeCache": "CUDA",
}
_AT_ROOT = {
    "var/lib/apt/lists": "apt lists",
    "var/cache/apt": "apt",
    "var/cache/apk": "apk",
    "etc/apk/cache": "apk",
    "var/cache/dnf": "dnf",
    "var/cache/libdnf5": "dnf",
    "var/cache/yum": "yum",
}
_TAG = "/CACHEDIR.TAG"
"""Marks a cache (bford.info/cachedir, "Cache Directory Tagging Specification"): uv, cargo, ccache, pytest and others write it."""
_NO_CACHES = ("pyvenv.cfg", ".rustc_info.json")
"""What lies in folders that are marked, too, but that programs run from: virtual environments of uv, and what cargo built."""
_CONDA_META = "/conda-meta/history"
_PACKAGES = "/pkgs/"
_CONDAS = ("conda", "mamba", "miniforge")
_MOST_FOLDERS = 1 << 16
"""Folders that are remembered."""


def alternatives(places: Iterable[str]) -> str:
    """Return an expression that matches any of the places, the longest that fits."""
    return "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))


_KNOWN = re.compile(rf"(?:(?:.*?/)?({alternatives([*OF_MODELS, *_ANYWHERE])}|\.cache/[^/]+)|({alternatives(_AT_ROOT)}))/")
_WORDS = ("ache", "ists/", ".npm/", "pnpm/", "repository/", "registry/", "argo/git/", "pkg/mod/")
"""One of them is in whatever `_KNOWN` matches, which is slow; hardly any other path has one."""
_NAMES = {**OF_MODELS, **_ANYWHERE, **_AT_ROOT}


@dataclass(frozen=True, slots=True)
class CachePlace:
    """A cache: the program that keeps it, and its folder; whether that holds models."""

    name: str
    place: str
    of_models: bool = False


class Caches:
    """The caches among these files."""

    def __init__(self, paths: Collection[str]) -> None:
        self._marked: dict[str, CachePlace] = {}
        self._above = lru_cache(_MOST_FOLDERS)(self._find_above)
        for path in paths:
            if path.endswith(_TAG):
                folder = dirname(path)
                if not any(f"{folder}/{name}" in paths for name in _NO_CACHES):
                    self._marked[folder] = CachePlace(basename(folder).lstrip(".").removesuffix("_cache") or folder, folder)
            elif path.endswith(_CONDA_META):
                folder = f"{path.removesuffix(_CONDA_META)}/pkgs"
                self._marked[folder] = CachePlace("conda", folder)

    def holding(self, path: str) -> CachePlace | None:
        """Return the cache that a file is in, the one with the best known name; None where it is in none."""
        if any(map(path.__contains__, _WORDS)) and (match := _KNOWN.match(path)):
            known = match[1] or match[2]
            return CachePlace(_NAMES.get(known) or basename(known), path[: match.end() - 1], known in OF_MODELS)
        above, packages, _ = path.partition(_PACKAGES)
        if packages and any(name in basename(above) for name in _CONDAS):
            return CachePlace("conda", f"{above}/pkgs")
        return self._above(dirname(path)) if self._marked else None

    def _find_above(self, folder: str) -> CachePlace | None:
        """Return the marked cache that is this folder, or that it is in."""
        while folder:
            if folder in self._marked:
                return self._marked[folder]
            folder = dirname(folder)
        return None
