"""How likely each change is to be what broke an artifact: by what the failing run named, and by what the working one used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename
from typing import TypeAlias

from hatch_mlbundle.applied import Applied
from hatch_mlbundle.importpaths import ImportPaths, installed
from hatch_mlbundle.model import Kind

from .replay import Site

_USED, _UNUSED = 8.0, 1.0
"""All changes of files that the working run used together are so many times as suspicious as all others together."""
_NATIVE = 16.0
"""Of a crash, changes of native code are so many times as suspicious as others."""
_SILENT = 4.0
"""What was made otherwise is so many times as suspicious as what was dropped: whoever misses a file mostly names it."""
_FRAMES = 0.125
"""What a frame of a traceback says is so much of what an error says: the code in it ran, and the fault is mostly elsewhere."""

_Sort: TypeAlias = tuple[int, str, Kind | None, bool]
"""The step, the action, the sort of file, and whether it is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """What hints at the guilty: paths that the untouched artifact was seen to use, what the failing run named and what the frames of its
    tracebacks did (the most telling first), and whether a signal ended it.
    """

    used: Collection[str]
    named: Sequence[str] = ()
    frames: Sequence[str] = ()
    crashed: bool = False


def weigh(changes: Mapping[Site, Applied], clues: Clues, modules: ImportPaths) -> dict[Site, float]:
    """Return a weight for each change; nothing has no weight at all.

    What is named first outweighs everything else. Each sort of change is as suspicious as another, however many there are of it: of
    thousands that are alike there is seldom a single one that breaks what the others do not.
    """
    sorts = {site: _sort(site, change, clues.used) for site, change in changes.items()}
    counts = Counter(sorts.values())
    masses = {sort: _mass(sort, crashed=clues.crashed) for sort in counts}
    whole = {is_used: sum(mass for sort, mass in masses.items() if sort[3] is is_used) for is_used in (True, False)}
    share = {True: _USED, False: _UNUSED}
    weights = {site: share[sort[3]] * masses[sort] / whole[sort[3]] / counts[sort] for site, sort in sorts.items()}
    for strength, names in ((1.0, clues.named), (_FRAMES, clues.frames)):
        for position, name in enumerate(names, 1):
            meant = [site for site in changes if _means(name, site.path, modules)]
            for site in meant:
                weights[site] += strength * (_USED + _UNUSED) / position**2 / len(meant)
    return weights


def _sort(site: Site, change: Applied, used: Collection[str]) -> _Sort:
    file = change.before or change.after
    return site.step, change.action, file.kind if file else None, site.path in used


def _mass(sort: _Sort, *, crashed: bool) -> float:
    _, action, kind, _ = sort
    native = _NATIVE if crashed and kind in (Kind.ELF, Kind.MACHO, Kind.PE) else 1.0
    return native if action == "drop" else native * _SILENT


def _means(name: str, path: str, modules: ImportPaths) -> bool:
    """Say whether an error message that holds `name` may be about a file: a path or its end, a module, a library, a distribution."""
    place = installed(path)
    file = basename(place)
    if (
        name in (modules.name(path), file, file.partition(".")[0])
        or place == name
        or place.endswith(f"/{name}")
        or name.endswith(f"/{place}")
    ):
        return True
    folder = place.rpartition("-info/")[0].rpartition("/")[2]
    return _normal(folder).startswith(f"{_normal(name.removesuffix('.dist-info'))}-")


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def by_folder(site: Site) -> tuple[int, str]:
    """Return what changes have in common that belong together: the step, and the package that their files lie in."""
    return site.step, "/".join(installed(site.path).split("/")[:-1])
