"""What goes into an archive: the tree below one top folder, in the order in which it is stored and can be unpacked."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hatch_mlbundle.bundles.folder_scan import Stamp, list_tree, stamp_of
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import CHUNK

_MOST_LINKS = 40
"""Links that Linux follows for one path before it calls them a loop (path_resolution(7))."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class MemberType(Enum):
    """What a member of an archive is."""

    FOLDER = "folder"
    FILE = "file"
    HARD_LINK = "hard link"
    SYMBOLIC_LINK = "symbolic link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member: `name` begins with the top folder and has `/` between its parts, `place` is where it lies on disk.

    `size` is in bytes, `mode` is 0o755 or 0o644, `stamp` is a file's from when the tree was read. `target` is what a symbolic
    link holds, and for a hard link the name of the file before it that has the same bytes in the same place on disk.
    """

    name: str
    place: Path
    type: MemberType
    size: int = 0
    mode: int = 0o755
    target: str = ""
    stamp: Stamp = (0, 0)

    def chunks(self) -> Iterator[bytes]:
        """Yield a file's bytes, at most CHUNK at a time; raises ArtifactError where they cannot be read or have changed."""
        left = self.size
        try:
            with os.fdopen(os.open(self.place, os.O_RDONLY | _NO_FOLLOW), "rb", buffering=0) as stream:
                while chunk := stream.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        break
                    yield chunk
                changed = left != 0 or stamp_of(os.fstat(stream.fileno())) != self.stamp
        except OSError as error:
            raise _unreadable(self.place, error) from error
        if changed:
            raise ArtifactError(str(self.place), "changed while it was being packed; pack again when nothing writes there")


def read_tree(folder: Path, name: str | None = None) -> tuple[Member, ...]:
    """Return the members of a folder, itself the first, sorted by name: folders before what is in them, files before hard links.

    `name` is what the folder is called in the archive, its own name where that is None. A single file is a tree too. The members
    depend on names, sizes, link targets and whether files are executable, on nothing else. Raises ArtifactError for what cannot be
    read or stored: a device, pipe or socket, a link that leads out of the tree, a name that is not UTF-8.
    """
    root = folder.resolve()
    top = name or root.name
    if not top:
        raise ArtifactError(str(root), "has no name to unpack under; pack a folder in it")
    if not root.is_dir():
        return (_checked(_file(root, top, {})),)
    listing = list_tree(root)
    members = [Member(name=top, place=root, type=MemberType.FOLDER)]
    members += [Member(name=f"{top}/{path}", place=root / path, type=MemberType.FOLDER) for path in listing.folders]
    first: dict[tuple[int, int], str] = {}
    members += [_file(root / path, f"{top}/{path}", first) for path in listing.files]
    _refuse_links_that_leave({each.name: each for each in members if each.type is MemberType.SYMBOLIC_LINK})
    return tuple(sorted(map(_checked, members), key=lambda member: member.name))


def _file(place: Path, name: str, first: dict[tuple[int, int], str]) -> Member:
    """Return the member for a file or link; `first` has the name of each file met that other names may have too, and gets this one."""
    try:
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            return Member(name=name, place=place, type=MemberType.SYMBOLIC_LINK, target=os.readlink(place).replace(os.sep, "/"))  # noqa: PTH115 - as written
    except OSError as error:
        raise _unreadable(place, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(str(place), "is neither file, folder nor link; take it out")
    original = first.setdefault((status.st_dev, status.st_ino), name) if status.st_nlink > 1 else name
    return Member(
        name=name,
        place=place,
        type=MemberType.FILE if original == name else MemberType.HARD_LINK,
        size=status.st_size,
        mode=0o755 if status.st_mode & 0o111 else 0o644,
        target="" if original == name else original,
        stamp=stamp_of(status),
    )


def _checked(member: Member) -> Member:
    try:
        f"{member.name}{member.target}".encode()
    except UnicodeEncodeError:
        raise ArtifactError(
            ascii(str(member.place)), "has a name or target that is not UTF-8, which no archive can hold; rename it"
        ) from None
    return member


def _refuse_links_that_leave(links: Mapping[str, Member]) -> None:
    for name in sorted(links):
        if _leaves(name, links):
            link = links[name]
            raise ArtifactError(
                str(link.place), f"is a link out of the folder, to {link.target!r}; make it relative, or put a file in its place"
            )


def _leaves(name: str, links: Mapping[str, Member]) -> bool:
    """Say whether a link leads out of the top folder, by itself or through other links; a loop leads nowhere."""
    top, *reached = name.split("/")[:-1]
    waiting = deque(links[name].target.split("/"))
    if _is_absolute(links[name].target):
        return True
    followed = 0
    while waiting and followed < _MOST_LINKS:
        part = waiting.popleft()
        if part == "..":
            if not reached:
                return True
            reached.pop()
        elif part not in ("", "."):
            reached.append(part)
        link = links.get("/".join((top, *reached)))
        if link is not None:
            if _is_absolute(link.target):
                return True
            reached.pop()
            waiting.extendleft(reversed(link.target.split("/")))
            followed += 1
    return False


def _is_absolute(target: str) -> bool:
    return target.startswith("/") or Path(target).is_absolute()


def _unreadable(place: Path, error: OSError) -> ArtifactError:
    return ArtifactError(str(place), f"cannot be read: {error.strerror}")
