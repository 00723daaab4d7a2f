"""Which members of a layer count, and which take over the data of those that go: known when all of them were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .edits import LayerEdit
from .layer_stream import LayerStream
from .layer_tree import LayerTree
from .tar_reader import Member
from .tree import Effort, Leaf, TreeError, leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class Heir:
    """The member, by its number from 0 and its path, that takes over the data of another one, whose hard link it was."""

    number: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """`superseded` are the members of which later ones of their layer took the place, `heirs` those that take data over, by whose."""

    superseded: frozenset[int] = frozenset()
    heirs: Mapping[int, Heir] = field(default_factory=dict)


class Places:
    """Where the members of a layer lie, one after the other, and which of them has the data of a file with several names."""

    def __init__(self, stream: LayerStream, number: int) -> None:
        self.tree = LayerTree(number, Effort())
        self.paths: list[str] = []
        self._stream = stream
        self._holders: dict[Leaf, int] = {}

    def add(self, member: Member) -> tuple[int, str, int | None]:
        """Return a member's number, its path, and the number of the one that has its data: itself, or the one it is a hard link to.

        That is None for folders and whiteouts. Raises ArtifactError where the member has no place.
        """
        number = len(self.paths)
        try:
            path, leaf = self.tree.add(member, None)
        except TreeError as error:
            raise self._stream.damaged(f"has a member {member.name[:200]!a} {error}") from error
        self.paths.append(path)
        return number, path, None if leaf is None else self._holders.setdefault(leaf, number)


def plan_layer(stream: LayerStream, number: int, edit: LayerEdit) -> LayerPlan:
    """Return what is to be known of the layer of this number before it is edited; raises ArtifactError where it is damaged."""
    places = Places(stream, number)
    last: dict[str, tuple[int, int]] = {}
    superseded: set[int] = set()
    for member, _ in stream.members():
        position, path, holder = places.add(member)
        if holder is not None:
            if path in last:
                superseded.add(last[path][0])
            last[path] = position, holder
    stream.finish()
    seen = {path for path, _ in leaves(places.tree.root)}
    superseded |= {position for path, (position, _) in last.items() if path not in seen}
    heirs: dict[int, Heir] = {}
    for path, (position, holder) in sorted(last.items(), key=lambda item: item[1]):
        gone = holder in superseded or edit.changes(places.paths[holder])
        if gone and position != holder and position not in superseded and not edit.changes(path):
            heirs.setdefault(holder, Heir(number=position, path=path))
    return LayerPlan(superseded=frozenset(superseded), heirs=heirs)
