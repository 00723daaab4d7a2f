"""What programs keep only to be faster: their caches, by the places that they have for any user, and by marks in the folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import basename, dirname

_OF_MODELS = {".cache/huggingface": "Hugging Face", ".cache/torch": "PyTorch"}
"""Caches of models, which a person wants to see as models."""
_ANYWHERE = {
    ".cache/pypoetry": "Poetry",
    ".cache/go-build": "Go",
    ".npm": "npm",
    ".yarn/cache": "yarn",
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
    "var/cache/yum": "yum",
}
_TAG = "/CACHEDIR.TAG"
"""Marks a cache (bford.info/cachedir, "Cache Directory Tagging Specification"): uv, cargo, ccache, pytest and others write it."""
_CONDA_META = "/conda-meta/history"


def _alternatives(places: Iterable[str]) -> str:
    return "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))


_KNOWN = re.compile(rf"(?:(?:.*?/)?({_alternatives([*_OF_MODELS, *_ANYWHERE])}|\.cache/[^/]+)|({_alternatives(_AT_ROOT)}))/")
_WORDS = ("ache", "ists/", ".npm/", "pnpm/", "repository/", "registry/", "argo/git/", "pkg/mod/")
"""One of them is in whatever `_KNOWN` matches, which is slow; hardly any other path has one."""
_NAMES = {**_OF_MODELS, **_ANYWHERE, **_AT_ROOT}


@dataclass(frozen=True, slots=True)
class CachePlace:
    """A cache: the program that keeps it, and its folder; whether that holds models."""

    name: str
    place: str
    of_models: bool = False


class Caches:
    """The caches among these files."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._marked: dict[str, CachePlace] = {}
        for path in paths:
            if path.endswith(_TAG):
                folder = dirname(path)
                self._marked[folder] = CachePlace(basename(folder).lstrip(".").removesuffix("_cache") or folder, folder)
            elif path.endswith(_CONDA_META):
                folder = f"{path.removesuffix(_CONDA_META)}/pkgs"
                self._marked[folder] = CachePlace("conda", folder)

    def holding(self, path: str) -> CachePlace | None:
        """Return the cache that a file is in, the one with the best known name; None where it is in none."""
        if any(map(path.__contains__, _WORDS)) and (match := _KNOWN.match(path)):
            known = match[1] or match[2]
            return CachePlace(_NAMES.get(known) or basename(known), path[: match.end() - 1], known in _OF_MODELS)
        folder = dirname(path) if self._marked else ""
        while folder:
            if folder in self._marked:
                return self._marked[folder]
            folder = dirname(folder)
        return None
