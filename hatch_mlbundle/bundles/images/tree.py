"""The files of one layer, or of all that lie on each other: a layer that is later hides what has the same name below it.

What hides what is as in overlay file systems, where container engines keep layers (OCI image specification, layer.md, "Applying
Changesets"): each layer is a tree of its own, and two folders of one name are one folder; anything else takes the place of what was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, TypeAlias

from hatch_mlbundle.manifest import View
from hatch_mlbundle.model import Kind
from hatch_mlbundle.removable import RemovableRow

Manager: TypeAlias = Literal["system", "conda", "python"]
"""What lists the files of a package: the distribution (dpkg, apk), conda, or the RECORD of a Python distribution."""

Holder: TypeAlias = tuple[bytes | str, bytes | str]
"""A numeric owner and group as they are written."""

MOST_LINKS = 40
"""Links that Linux follows for one path before it calls them a loop (path_resolution(7))."""
LONGEST_PATH = 4096
"""Bytes of a path that Linux knows (PATH_MAX)."""
MOST_EFFORT = 200_000_000
"""Twice what 2,000,000 members with names of 50 characters take."""
_MADE = 200
"""What a folder that is made on the way costs: the memory that it takes."""
_FOLLOWED = 10
"""What a character of a link costs that is on the way, as hardly any is: builders write paths without links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a file is made of, bytes by the name of the part, by view, as in ContentsRow; and what it could lose."""

    parts: Mapping[View, Mapping[str, int]]
    removable: RemovableRow | None = None


class TreeError(Exception):
    """A member that has no place in the tree; the message goes on after "has a member NAME"."""


class Effort:
    """What may still be spent on names in all trees of an image: a character of a path costs 1.

    A short name behind long links may cost as much as a million plain ones, in time and in the memory for its path.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._left = MOST_EFFORT

    def spend(self, cost: int) -> None:
        """Raise TreeError where not so much is left."""
        with self._lock:
            self._left -= cost
        if self._left < 0:
            raise TreeError("behind too many long names and links")


@dataclass(slots=True, kw_only=True, eq=False)
class Stored:
    """The bytes of a regular file in the layer of this number: `size` unpacked, `compressed` as stored.

    `listing` is what is kept of a text that a package manager or distribution wrote. `told` is what was read of its headers.
    `hidden` says what hid it last, if anything did.
    """

    layer: int
    size: int
    compressed: int
    sha256: str
    kind: Kind
    listing: bytes | None = None
    told: Told | None = None
    hidden: Hidden | None = None


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the layer of this number hid at once: the file or folder at `path`."""

    layer: int
    path: str


@dataclass(slots=True, kw_only=True, eq=False)
class Leaf:
    """What is no folder: a file (`stored`), a symbolic link (its target), or neither of them: a device or pipe.

    `owner` is the package that it belongs to, "" where that is not known, and `manager` what lists it; `is_system` says that the
    distribution lists it, too. `layer` is the number of the layer that brings it, once that was noted (members.py). `is_shared` says that
    a hard link between two layers ends or begins here; `is_capable` that it has capabilities (capabilities(7), "File capabilities");
    `holder` is its owner and group, `modified` its time, as in Member.
    """

    mode: int
    layer: int = 0
    stored: Stored | None = None
    link: str | None = None
    owner: str = ""
    manager: Manager | None = None
    is_system: bool = False
    is_shared: bool = False
    is_capable: bool = False
    holder: Holder = (b"", b"")
    modified: int = 0

    @property
    def rights(self) -> str:
        """What decides, beside the mode, who may do what with it: equal where the owner, the group and capabilities are."""
        return f"{self.holder}{self.is_capable}"


class Gone:
    """A whiteout: what has this name in a layer below is no longer there."""


GONE = Gone()


@dataclass(slots=True, eq=False)
class Folder:
    """A folder. One that is `opaque` shows nothing of what lies in folders of its name below it."""

    children: dict[str, Node] = field(default_factory=dict)
    opaque: bool = False


Node: TypeAlias = Folder | Leaf | Gone


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yield every leaf below a node, with its path; in no order."""
    waiting = [(path, node)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, Leaf):
            yield path, node
        elif isinstance(node, Folder):
            prefix = f"{path}/" if path else ""
            waiting.extend((prefix + name, child) for name, child in node.children.items())


def plain(path: str) -> str:
    """Return a member's name without what means nothing in it: `./`, and slashes before it and in a row."""
    return "/".join(_parts(path))


def parts_of(path: str) -> list[str]:
    """Return the parts of a member's name; raises TreeError for `..`, and where it is longer than any."""
    parts = _parts(path)
    if ".." in parts:
        raise TreeError("that leads out of its folder by '..'")
    if len(path) > LONGEST_PATH:
        raise TreeError(f"of more than {LONGEST_PATH:,} characters")
    return parts


def find(root: Folder, path: str, effort: Effort) -> Node | None:
    """Return what is at a path, None where nothing is. Links on the way are followed, but not the last part."""
    folder, name = path.rpartition("/")[::2]
    effort.spend(len(path))
    found, _ = walk(root, folder.split("/"), effort)
    return found.children.get(name) if found else None


def hide(node: Node | None, layer: int, path: str) -> None:
    """Note that the layer of this number hides all that is at this path."""
    if node is None:
        return
    hidden = Hidden(layer, path)
    for _, leaf in leaves(node):
        if leaf.stored:
            leaf.stored.hidden = hidden


def lay_over(below: Folder, above: Folder, layer: int) -> None:
    """Change the tree `below` into what is seen when that of a layer lies on it."""
    waiting = [(below, above, "")]
    while waiting:
        lower, upper, path = waiting.pop()
        if upper.opaque:
            hide(lower, layer, path)
            lower.children.clear()
        for name, node in upper.children.items():
            old, place = lower.children.get(name), f"{path}/{name}" if path else name
            if isinstance(node, Folder):
                if not isinstance(old, Folder):
                    hide(old, layer, place)
                    lower.children[name] = old = Folder()
                waiting.append((old, node, place))
                continue
            hide(old, layer, place)
            if isinstance(node, Leaf):
                lower.children[name] = node
            else:
                lower.children.pop(name, None)


def walk(root: Folder, parts: list[str], effort: Effort, *, make: bool = False) -> tuple[Folder | None, list[str]]:
    """Return the folder at a path, all links followed within the tree, and the path that it has without them.

    Where there is none it is made, or None returned. Raises TreeError where there is a file in its way, or links go around.
    The caller has spent what the path costs.
    """
    waiting, done, folders, links = _backwards(parts), list[str](), [root], 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del done[-1:], folders[max(1, len(folders) - 1) :]
            continue
        child = folders[-1].children.get(part)
        if isinstance(child, Leaf) and child.link is not None:
            links += 1
            if links > MOST_LINKS:
                raise TreeError("behind links that lead around")
            effort.spend(_FOLLOWED * len(child.link))
            if child.link.startswith("/"):
                done, folders = [], [root]
            waiting += _backwards(child.link.split("/"))
            continue
        if make and (child is None or child is GONE):
            effort.spend(_MADE)
            child = folders[-1].children[part] = Folder(opaque=child is GONE)
        if not isinstance(child, Folder):
            if make:
                raise TreeError("below what is no folder")
            return None, done
        done.append(part)
        folders.append(child)
    return folders[-1], done


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _backwards(parts: list[str]) -> list[str]:
    return [part for part in reversed(parts) if part not in ("", ".")]
