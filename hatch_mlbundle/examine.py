"""Facts about files, found on all cores and kept in the cache under the files' hashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from .cache import Cache
from .canonical import canonical_json, digest
from .model import File
from .optimizer import Json


class Mapper(Protocol):
    """What applies a function to items, in their order: an executor, or a guard."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any], /) -> Iterable[Any]:
        """Return `function(item)` for each item."""


def examine(
    identity: Json, files: Sequence[File], examiner: Callable[[File], Json], pool: Mapper | None, cache: Cache | None
) -> Mapping[str, Json]:
    """Return `examiner(file)` by path. `identity` names whatever decides the facts beside the files' paths and bytes.

    Without a `pool` they are examined here, one after another: where little is read, threads only wait for each other.

    The facts of all files are one cache entry: thousands of small ones would cost more to find than to compute.
    """
    key = digest(["examine", identity, [[file.path, file.sha256] for file in files]])
    entry = cache.get(key) if cache else None
    if entry is not None:
        found: Mapping[str, Json] = entry.value
        return found
    results = pool.map(examiner, files) if pool else map(examiner, files)
    made = dict(zip((file.path for file in files), results, strict=True))
    facts: Mapping[str, Json] = json.loads(canonical_json(made))  # as it comes out of the cache: order and types too
    if cache and files:
        cache.put(key, facts)
    return facts
