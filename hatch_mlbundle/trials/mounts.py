"""What a command sees of this machine's files, and under which paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file or folder of this machine, and under which absolute path a command in a clean root sees it."""

    source: Path
    target: Path
    writable: bool = False

    @classmethod
    def of(cls, path: Path, *, writable: bool = False) -> Mount:
        """Return a file or folder under its own path."""
        return cls(source=path.absolute(), target=path.absolute(), writable=writable)


def seen_in(path: Path, mounts: list[Mount]) -> bool:
    """Say whether a path, and whatever it leads to by symbolic links, is among the mounts."""
    for _ in range(40):  # as many as the system follows
        if not any(path.is_relative_to(mount.target) for mount in mounts) or not path.exists():
            return False
        if not path.is_symlink():
            return True
        path = Path(_without_dots(path.parent / path.readlink()))
    return False


def _without_dots(path: Path) -> str:
    """Return the path with `..` taken out by the real folders, as the system does, its last part left as it is."""
    return str(path.parent.resolve() / path.name) if ".." in path.parts else str(path)
