"""Which layer brings which files: what it takes to change an image that was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .layer_tree import LayerTree
from .tree import GONE, Folder, Leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """What a layer brings, by the places where it lies: files and links, folders, and `whiteouts` by what they hide."""

    leaves: Mapping[str, Leaf]
    folders: frozenset[str]
    whiteouts: tuple[str, ...]


def members_of(tree: LayerTree) -> Members:
    """Return what a layer brings, while its tree is still its own, and note in each leaf which layer that is."""
    leaves, folders, whiteouts = dict[str, Leaf](), set[str](), list[str]()
    waiting = [("", tree.root)]
    while waiting:
        path, folder = waiting.pop()
        prefix = f"{path}/" if path else ""
        for name, node in folder.children.items():
            place = prefix + name
            if isinstance(node, Folder):
                folders.add(place)
                waiting.append((place, node))
            elif isinstance(node, Leaf):
                leaves[place] = node
                node.layer = tree.number
            elif node is GONE:
                whiteouts.append(place)
    return Members(leaves=leaves, folders=frozenset(folders), whiteouts=tuple(sorted(whiteouts)))


def whiteout_name(place: str) -> str:
    """Return the name of the whiteout that hides a place (OCI image specification, layer.md, "Whiteouts")."""
    folder, slash, name = place.rpartition("/")
    return f"{folder}{slash}.wh.{name}"


def folder_places(root: Folder) -> Iterator[str]:
    """Yield the place of every folder in a tree."""
    waiting = [("", root)]
    while waiting:
        path, folder = waiting.pop()
        for name, node in folder.children.items():
            if isinstance(node, Folder):
                place = f"{path}/{name}" if path else name
                yield place
                waiting.append((place, node))
