"""The tree of one layer, made from its members one after the other."""

from __future__ import annotations

from .tar_format import FOLDER, HARD_LINK, SYMBOLIC_LINK
from .tar_reader import Member
from .tree import GONE, LONGEST_PATH, Effort, Folder, Leaf, Stored, TreeError, find, hide, parts_of, walk

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_NOTES = ".wh..wh."
"""What the names of a file system's own notes begin with (aufs); they are no files of the image."""


def is_whiteout(path: str) -> bool:
    """Say whether a member of this plain path is no file, but tells what is hidden below, or a file system of itself."""
    return path.startswith(_NOTES) or path.rpartition("/")[2].startswith(_WHITEOUT)


class LayerTree:
    """The tree of the layer of this number. `add` puts a member in; the last one of a name counts."""

    def __init__(self, number: int, effort: Effort) -> None:
        self.number = number
        self._effort = effort
        self.root = Folder()
        self._shared: list[tuple[Folder, str, Leaf, str]] = []

    def add(self, member: Member, stored: Stored | None) -> tuple[str, Leaf | None]:
        """Put a member in; `stored` are a regular file's bytes. Raises TreeError where it has no place.

        Return its path, links on the way to it followed, and its leaf, which is another member's where it is a hard link to that;
        None for folders and whiteouts.
        """
        parts = parts_of(member.name)
        if not parts:
            if member.type != FOLDER:
                raise TreeError("that is a file without a name")
            return "", None
        if parts[0].startswith(_NOTES) and parts != [_OPAQUE]:
            return "/".join(parts), None
        name = parts.pop()
        self._effort.spend(len(member.name) + len(member.link))
        folder, above = walk(self.root, parts, self._effort, make=True)
        place = "/".join([*above, name])
        if len(place) > LONGEST_PATH:
            raise TreeError(f"of more than {LONGEST_PATH:,} characters, its links followed")
        assert folder is not None  # noqa: S101 - it is made where there is none
        if name.startswith(_WHITEOUT):
            _white_out(folder, name)
            return place, None
        if member.type == FOLDER:
            self._add_folder(folder, name, place)
            return place, None
        hide(folder.children.get(name), self.number, place)
        leaf = folder.children[name] = self._leaf(member, stored, folder, name)
        return place, leaf

    def resolve(self, below: Folder) -> None:
        """Find the files of lower layers that hard links name; raises TreeError where there are none, with the name of the link."""
        for folder, name, leaf, target in self._shared:
            found = find(below, target, self._effort)
            if isinstance(found, Leaf):
                leaf.stored, leaf.link = found.stored, found.link
                leaf.is_shared = found.is_shared = True
            elif folder.children.get(name) is leaf:
                raise TreeError(f"{name[:200]!a} that is a hard link to {target[:200]!a}, which is no file of its or a lower layer")

    def take(self) -> Folder:
        """Return the tree, which is then somebody else's to change."""
        root, self.root = self.root, Folder()
        return root

    def _add_folder(self, folder: Folder, name: str, place: str) -> None:
        old = folder.children.get(name)
        if not isinstance(old, Folder):
            hide(old, self.number, place)
            folder.children[name] = Folder(opaque=old is GONE)

    def _leaf(self, member: Member, stored: Stored | None, folder: Folder, name: str) -> Leaf:
        """Return a new leaf, or the one that a hard link names."""
        leaf = Leaf(mode=member.mode, stored=stored, is_capable=member.is_capable, holder=member.holder, modified=member.modified)
        if member.type == SYMBOLIC_LINK:
            if len(member.link) > LONGEST_PATH:
                raise TreeError(f"that is a link to more than {LONGEST_PATH:,} characters")
            leaf.link = member.link
        elif member.type == HARD_LINK:
            target = "/".join(parts_of(member.link))
            found = find(self.root, target, self._effort)
            if isinstance(found, Folder):
                raise TreeError("that is a hard link to a folder")
            if isinstance(found, Leaf):
                return found
            self._shared.append((folder, name, leaf, target))
        return leaf


def _white_out(folder: Folder, name: str) -> None:
    """Hide what is below a layer; what the layer itself brings stays, whichever of the two comes first."""
    if name == _OPAQUE:
        folder.opaque = True
    elif not name.startswith(_NOTES):
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise TreeError("that hides nothing there can be")
        own = folder.children.setdefault(hidden, GONE)
        if isinstance(own, Folder):
            own.opaque = True
