"""What there is to judge an image by, and an option that was found in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hatch_mlbundle.bundles.images.layer import Layer
from hatch_mlbundle.bundles.images.tree import Stored
from hatch_mlbundle.manifest import ContentsRow, EditRow, LayerRow
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.models.external import BundledModel

from .instructions import Instruction, about, instead_of, parse

_LONGEST = 400
"""Characters of a name that is matched with patterns: images have no longer ones, and hostile ones could take hours."""
_WORTH_TELLING = 1000
"""One part in so many of an image that something has to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Something to do, and the stored bytes that then are not in the image: `freed` has each file once, seen or hidden."""

    name: str
    title: str
    freed: tuple[Stored, ...]
    pros: tuple[str, ...]
    cons: tuple[str, ...]
    edits: tuple[EditRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """An image as it was read: `seen` are the stored bytes behind each name of a regular file that a container sees.

    `paths` are those names that are matched with patterns, `names` counts the names of each by its `id`, and `copies` are, by the same,
    the hidden bytes of lower layers that it repeats: as after a change of owner, mode or time. What is less than `least` bytes is not worth
    a line.
    """

    bundle: Bundle
    seen: Mapping[str, Stored]
    layers: Sequence[Layer]
    rows: Sequence[LayerRow]
    models: Sequence[BundledModel]
    contents: Sequence[ContentsRow]
    least: float
    instructions: tuple[Instruction, ...]
    paths: tuple[str, ...] = field(repr=False)
    names: Counter[int] = field(repr=False)
    copies: Mapping[int, Sequence[Stored]] = field(repr=False)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        seen: Mapping[str, Stored],
        layers: Sequence[Layer],
        rows: Sequence[LayerRow],
        models: Sequence[BundledModel],
        contents: Sequence[ContentsRow],
    ) -> Evidence:
        """Return the evidence, with what made each layer read."""
        names = Counter(map(id, seen.values()))
        return cls(
            bundle=bundle,
            seen=seen,
            layers=layers,
            rows=rows,
            models=models,
            contents=contents,
            least=sum(stored.size for layer in layers for stored in layer.stored) / _WORTH_TELLING,
            instructions=tuple(parse(row.created_by) for row in rows),
            paths=tuple(path for path in seen if len(path) <= _LONGEST),
            names=names,
            copies=_copies(seen, names, layers),
        )

    def freed(self, paths: Iterable[str]) -> tuple[Stored, ...]:
        """Return what goes when these names are no longer made, with what later layers only repeat of it."""
        return tuple(each for stored in self.shown(paths) for each in (stored, *self.copies.get(id(stored), ())))

    def shown(self, paths: Iterable[str]) -> tuple[Stored, ...]:
        """Return what a container no longer sees when these names go: bytes behind several hard links only go with the last of them."""
        found: dict[int, Stored] = {}
        gone: Counter[int] = Counter()
        for path in paths:
            stored = self.seen.get(path)
            if stored is not None:
                found[id(stored)] = stored
                gone[id(stored)] += 1
        return tuple(stored for key, stored in found.items() if gone[key] == self.names[key])

    def origin(self, path: str) -> int:
        """Return the number of the layer that made the bytes behind a name: later ones may have them again."""
        stored = self.seen[path]
        return min(each.layer for each in (stored, *self.copies.get(id(stored), ())))

    def made_by(self, number: int) -> Instruction:
        """Return what made the layer of this number."""
        return self.instructions[number - 1]

    def changed(self, number: int, new: str | None, command: str) -> str:
        """Return lines of a Dockerfile that put `new` in the place of what made a layer; where that is None, what to run in making it."""
        made = self.made_by(number)
        return instead_of(number, made, new) if new else f"{about(number, made)}\n# end what makes it with: {command}"

    def by_layer(self, paths: Iterable[str]) -> dict[int, list[str]]:
        """Return the names by the number of the layer that made their bytes, the lowest first."""
        layers: defaultdict[int, list[str]] = defaultdict(list)
        for path in paths:
            if path in self.seen:
                layers[self.origin(path)].append(path)
        return dict(sorted(layers.items()))

    def size(self, paths: Iterable[str]) -> int:
        """Return the bytes behind these names, unpacked, as a container sees them."""
        return sum(stored.size for stored in self.shown(paths))


def _copies(seen: Mapping[str, Stored], names: Collection[int], layers: Sequence[Layer]) -> Mapping[int, Sequence[Stored]]:
    found: defaultdict[int, list[Stored]] = defaultdict(list)
    for layer in layers:
        for each in layer.stored:
            above = seen.get(each.hidden.path) if each.hidden and each.size and id(each) not in names else None
            if above and above.sha256 == each.sha256 and above.layer > each.layer:
                found[id(above)].append(each)
    return found
