"""Read what the hook in an application wrote down (runtime/trace_hook.py has the format)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What all processes together wrote: `paths` relative to a root, dotted names of `modules` by executable.

    In `ran` are the frozen executables that had the hook in them, and "" for other Pythons; in `watched` those of them in which it
    found the archive of modules.
    """

    ran: frozenset[str]
    paths: frozenset[str]
    modules: Mapping[str, frozenset[str]]
    watched: frozenset[str]


def read_records(folder: Path) -> Records:
    """Return what stands in a folder of records; of a process that was killed within a record, that one is left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in filter(Path.is_file, folder.iterdir()):
        for record in path.read_bytes().split(b"\0")[:-1]:
            found[chr(record[0])].add(os.fsdecode(record[1:]))
    modules: dict[str, set[str]] = defaultdict(set)
    for text in found["m"]:
        executable, _, name = text.partition("/")
        modules[executable].add(name)
    return Records(
        ran=frozenset(found["s"]),
        paths=frozenset(found["f"]),
        modules={executable: frozenset(names) for executable, names in modules.items()},
        watched=frozenset(found["p"]),
    )
