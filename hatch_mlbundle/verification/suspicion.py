"""How likely each change is to be what broke an artifact: by what the failing run named, and by what the working one used."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from posixpath import basename

from hatch_mlbundle.importpaths import ImportPaths, installed

from .replay import Site

_USED, _UNUSED = 8.0, 1.0
"""All changes of files that the working run used together are so many times as suspicious as all others together."""


def weigh(sites: Sequence[Site], used: Collection[str], named: Sequence[str], modules: ImportPaths) -> dict[Site, float]:
    """Return a weight for each change. `used` are paths that the untouched artifact uses, `named` is what the failing run complained of.

    What is named first outweighs everything else; nothing has no weight at all.
    """
    touched = sum(site.path in used for site in sites)
    share = {True: _USED / max(touched, 1), False: _UNUSED / max(len(sites) - touched, 1)}
    weights = {site: share[site.path in used] for site in sites}
    whole = _USED + _UNUSED
    for position, name in enumerate(named):
        meant = [site for site in sites if _means(name, site.path, modules)]
        for site in meant:
            weights[site] += whole / (position + 1) / len(meant)
    return weights


def _means(name: str, path: str, modules: ImportPaths) -> bool:
    """Say whether an error message that holds `name` may be about a file: a path or its end, a module, a library, a distribution."""
    place = installed(path)
    if name in (modules.name(path), basename(place)) or place == name or place.endswith(f"/{name}") or name.endswith(f"/{place}"):
        return True
    folder = place.rpartition("-info/")[0].rpartition("/")[2]
    return _normal(folder).startswith(f"{_normal(name.removesuffix('.dist-info'))}-")


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def by_folder(site: Site) -> tuple[int, str]:
    """Return what changes have in common that belong together: the step, and the package that their files lie in."""
    return site.step, "/".join(installed(site.path).split("/")[:-1])


def suspects(weights: Mapping[Site, float]) -> list[Site]:
    """Return the changes, the most suspicious first."""
    return sorted(weights, key=lambda site: -weights[site])
