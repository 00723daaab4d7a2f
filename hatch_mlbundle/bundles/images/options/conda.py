"""Conda's base environment beside the one that an application runs in."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from hatch_mlbundle.manifest import EditRow

from .evidence import Evidence, Option

_ENVIRONMENT = re.compile(r"(?P<prefix>.+?)/envs/(?P<name>[^/]+)/conda-meta/[^/]+\.json")
_OUTSIDE = ("envs", "pkgs")
_MOST = 10
"""Bases, and environments of one; an image of people's has one and a few."""


def conda_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what the base environment takes where there is another one: only then can it be told what is not used."""
    environments: defaultdict[str, set[str]] = defaultdict(set)
    for path in evidence.paths:
        if "/conda-meta/" in path and (match := _ENVIRONMENT.fullmatch(path)):
            environments[match["prefix"]].add(match["name"])
    for prefix, names in sorted(environments.items())[:_MOST]:
        inside = [
            path for path in evidence.paths if path.startswith(f"{prefix}/") and path[len(prefix) + 1 :].partition("/")[0] not in _OUTSIDE
        ]
        freed = evidence.freed(inside)
        if freed and all(each.isprintable() and " " not in each for each in (prefix, *names)):
            yield _option(evidence, prefix, sorted(names)[:_MOST], inside)


def _option(evidence: Evidence, prefix: str, names: list[str], paths: list[str]) -> Option:
    places = [f"/{prefix}/envs/{name}" for name in names]
    lines = [
        "# after the instructions that make the environment, in the stage `build`:",
        "FROM debian:bookworm-slim",
        *(f"COPY --from=build {place} {place}" for place in places),
        f"ENV PATH={places[0]}/bin:$PATH CONDA_PREFIX={places[0]}",
    ]
    return Option(
        name="conda-base",
        title="Leave conda's base environment behind",
        freed=evidence.freed(paths),
        pros=("An environment runs without `conda`: what it needs of the base it has by hard links.",),
        cons=("`conda activate` is gone: scripts in `etc/conda/activate.d` of the environment have to be run otherwise.",),
        edits=(EditRow(where="Dockerfile", text="\n".join(lines)),),
    )
