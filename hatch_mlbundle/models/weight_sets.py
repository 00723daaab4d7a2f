"""Which weight files of a bundle belong together: the shards of an index, or one file alone, and the configuration beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import basename, dirname

from hatch_mlbundle.models.sharded import INDEX_SUFFIX

SUFFIX = ".safetensors"
"""What the name of a file of weights ends in."""

CONFIG = "config.json"

_MAIN = frozenset({f"model{SUFFIX}", f"model{INDEX_SUFFIX}"})
"""The names that transformers looks for: the configuration is about these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSet:
    """Files that are changed together or not at all: `shards` hold tensors; `index` says which, where there are several.

    `config` is the transformers configuration that goes with them, None where there is none.
    """

    shards: tuple[str, ...]
    index: str | None = None
    config: str | None = None


def weight_sets(paths: Iterable[str], indices: Mapping[str, Iterable[str]]) -> list[WeightSet]:
    """Return how the safetensors files among the paths belong together, in the order of their first shards.

    `indices` gives the names of the shards of each index; what several share belongs to the first in the order of the paths.
    """
    known = set(paths)
    sets: list[WeightSet] = []
    taken: set[str] = set()
    for index, names in sorted(indices.items()):
        shards = tuple(_beside(index, name) for name in sorted(names))
        if taken.isdisjoint(shards):
            taken.update(shards)
            sets.append(WeightSet(shards=shards, index=index, config=_config(index, known)))
    singles = sorted(path for path in known - taken if path.endswith(SUFFIX))
    sets += [WeightSet(shards=(path,), config=_config(path, known)) for path in singles]
    return sorted(sets, key=lambda each: each.shards)


def text_of(sets: Iterable[WeightSet]) -> str:
    """Return weight sets as JSON."""
    return json.dumps([[each.shards, each.index, each.config] for each in sets])


def sets_of(text: str) -> list[WeightSet]:
    """Return the weight sets that a text of `text_of` holds."""
    return [WeightSet(shards=tuple(shards), index=index, config=config) for shards, index, config in json.loads(text)]


def _config(path: str, known: set[str]) -> str | None:
    config = _beside(path, CONFIG)
    return config if basename(path) in _MAIN and config in known else None


def _beside(path: str, name: str) -> str:
    return f"{dirname(path)}/{name}".lstrip("/")
