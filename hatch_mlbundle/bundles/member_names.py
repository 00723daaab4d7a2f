"""Which names a member of a wheel may have, alone and beside the others."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FAULTS = (
    (re.compile(r"\A/"), "is absolute"),
    (re.compile(r"\A[A-Za-z]:"), "names a drive"),
    (re.compile(r"\\"), "holds a backslash"),
    (re.compile(r"[\x00-\x1f\x7f]"), "holds a control character"),
    (re.compile(r"(\A|/)\.\.?(/|\Z)"), "holds '.' or '..' as a part"),
    (re.compile(r"\A\Z|//|/\Z"), "has an empty part"),
)


def name_fault(name: str) -> str | None:
    """Return what is wrong with a file's name (relative, `/` between its parts), None where nothing is."""
    return next((fault for pattern, fault in _FAULTS if pattern.search(name)), None)


def clash(files: Iterable[str], folders: Iterable[str] = ()) -> str | None:
    """Return a fault of these names beside each other, None where there is none: one twice, or a file that is also a folder.

    `folders` are those with an entry of their own, without a slash at the end; every file makes the folders above it.
    """
    names: set[str] = set()
    above: set[str] = set()
    for name in files:
        if name in names:
            return f"has two members named {name!r}"
        names.add(name)
        _add_folders_above(name, above)
    for folder in folders:
        _add_folders_above(f"{folder}/", above)
    both = min(names & above, default=None)
    return None if both is None else f"has {both!r} both as a file and as a folder"


def _add_folders_above(name: str, above: set[str]) -> None:
    while (slash := name.rfind("/")) > 0 and (name := name[:slash]) not in above:
        above.add(name)
