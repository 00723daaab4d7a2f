"""Which processes use a bundle: a library that is loaded late must not come from another build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hatch_mlbundle.errors import ArtifactError

_PROCESSES = Path("/proc")


def check_unused(target: Path) -> None:
    """Raise ArtifactError where a process runs the executable `target` or anything in the folder `target`.

    Seen on Linux only, of the processes that this user may look into (proc(5): `exe`, `maps`).
    """
    for number, name in users_of(target):
        raise ArtifactError(str(target), f"is in use by process {number} ({name}); end it, then build again")


def users_of(target: Path) -> Iterator[tuple[int, str]]:
    """Yield number and name of each process that runs the target or has mapped a file of it."""
    path = os.fsencode(target.resolve())
    if not os.path.lexists(target):
        return
    for process in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to somebody else
            if _uses(process, path):
                yield int(process.name), (process / "comm").read_text(errors="backslashreplace").strip()


def _uses(process: Path, path: bytes) -> bool:
    executable = os.fsencode((process / "exe").readlink())
    if executable == path or executable.startswith(path + b"/"):
        return True
    mapped = (process / "maps").read_bytes()
    return b" " + path + b"/" in mapped or b" " + path + b"\n" in mapped
