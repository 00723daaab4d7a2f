"""Facts about files, found on all cores and kept in the cache under the files' hashes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from .cache import Cache
from .canonical import canonical_json, digest
from .model import File
from .optimizer import Json


def examine(
    identity: Json, files: Sequence[File], examiner: Callable[[File], Json], pool: Executor | None, cache: Cache | None
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
    made = dict(zip((file.path for file in files), (pool.map if pool else map)(examiner, files), strict=True))
    facts: Mapping[str, Json] = json.loads(canonical_json(made))  # as it comes out of the cache: order and types too
    if cache and files:
        cache.put(key, facts)
    return facts
