"""Read what the hook in an application wrote down (runtime/trace_hook.py has the format)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What all processes together wrote: `paths` relative to a root; dotted names of `modules` that were asked for, and of those that were
    `loaded`, by executable.

    In `ran` are the frozen executables that had the hook in them, and "" for other Pythons; in `watched` those of them in which it
    found the archive of modules.
    """

    ran: frozenset[str]
    paths: frozenset[str]
    modules: Mapping[str, frozenset[str]]
    loaded: Mapping[str, frozenset[str]]
    watched: frozenset[str]


def read_records(folder: Path) -> Records:
    """Return what stands in a folder of records; of a process that was killed within a record, that one is left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in filter(Path.is_file, folder.iterdir()):
        for record in path.read_bytes().split(b"\0")[:-1]:
            found[chr(record[0])].add(os.fsdecode(record[1:]))
    return Records(
        ran=frozenset(found["s"]),
        paths=frozenset(found["f"]),
        modules=_by_executable(found["m"]),
        loaded=_by_executable(found["l"]),
        watched=frozenset(found["p"]),
    )


def _by_executable(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        executable, _, name = text.partition("/")
        found[executable].add(name)
    return {executable: frozenset(names) for executable, names in found.items()}
