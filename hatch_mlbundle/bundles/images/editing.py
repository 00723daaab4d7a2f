"""From the difference between an image's files before and after to what becomes of each layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from hatch_mlbundle.model import Bundle, File

from .edits import LayerEdit, NewLayer
from .members import Members, whiteout_name
from .tree import Leaf

_WORTH_TAKING_OUT = 10**6
"""Bytes as stored that later layers hide of one and that are worth writing it anew for; a layer that is written anyway loses all."""


@dataclass(frozen=True, kw_only=True)
class Layered:
    """The files of an image with where they lie: `visible` are those that a container sees, `layers` what each layer brings.

    The lowest `base` layers stay as they are.
    """

    visible: Mapping[str, Leaf]
    layers: Sequence[Members]
    base: int

    @cached_property
    def seen(self) -> frozenset[int]:
        """The `id`s of all Stored that a container sees."""
        return frozenset(id(leaf.stored) for leaf in self.visible.values() if leaf.stored)

    @cached_property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The names of each file that has several, sorted, by each of these names."""
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for path, leaf in sorted(self.visible.items()):
            if leaf.stored:
                groups[id(leaf.stored)].append(path)
        return {path: names for names in groups.values() if len(names) > 1 for path in names}


@dataclass(slots=True, kw_only=True)
class Editor:
    """What is to become of each layer, gathered change by change."""

    image: Layered
    _drop: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _replace: defaultdict[int, dict[str, File]] = field(default_factory=lambda: defaultdict(dict))

    def drop(self, path: str) -> None:
        """Take a file out of its layer, with the copies below it, which would come back."""
        for number in range(1, self.image.visible[path].layer + 1):
            if path in self.image.layers[number - 1].leaves:
                self._drop[number].add(path)

    def replace(self, path: str, file: File) -> None:
        """Give a name of a file other bytes, or make it a link."""
        self._replace[self.image.visible[path].layer][path] = file

    def edits(self, *, recompress: bool) -> tuple[LayerEdit | None, ...]:
        """Return what becomes of each layer, None where its stored bytes stay; with `recompress`, those of the base's alone do."""
        image = self.image
        rewritten = {*self._drop, *self._replace}
        for number in range(image.base + 1, len(image.layers) + 1):
            hidden = self._hidden(number)
            if number in rewritten or self._wasted(hidden.values()) >= _WORTH_TAKING_OUT:
                rewritten.add(number)
                self._drop[number].update(hidden)
        return tuple(
            self._edit(number) if number in rewritten else LayerEdit() if recompress and number > image.base else None
            for number in range(1, len(image.layers) + 1)
        )

    def _wasted(self, hidden: Iterable[Leaf]) -> int:
        """Return the bytes, as stored, that go with these: not those of files that are seen by another name."""
        stored = {id(leaf.stored): leaf.stored for leaf in hidden if leaf.stored}
        return sum(each.compressed for key, each in stored.items() if key not in self.image.seen)

    def _hidden(self, number: int) -> dict[str, Leaf]:
        """Return what later layers hide of one, and nothing else needs.

        A file in the place of a folder below it stays: it hides what is in there.
        """
        visible, below = self.image.visible, self.image.layers[: number - 1]
        leaves = self.image.layers[number - 1].leaves
        hidden = {place: leaf for place, leaf in leaves.items() if visible.get(place) is not leaf and not leaf.is_shared}
        return {place: leaf for place, leaf in hidden.items() if not any(place in layer.folders for layer in below)}

    def _edit(self, number: int) -> LayerEdit:
        layer = self.image.layers[number - 1]
        useless = {place for place in layer.whiteouts if not self._hides(place, number)}
        drop = {*self._drop[number], *map(whiteout_name, useless)}
        return LayerEdit(drop=frozenset(drop), replace=dict(sorted(self._replace[number].items())))

    def _hides(self, place: str, number: int) -> bool:
        """Say whether anything is left below a layer for a whiteout to hide."""
        return any(
            place in layer.folders or (place in layer.leaves and place not in self._drop[lower])
            for lower, layer in enumerate(self.image.layers[: number - 1], 1)
        )


def settled(after: Bundle, before: Bundle, names: Mapping[str, Sequence[str]]) -> Bundle:
    """Return the files as an image tells them: the first of the names of a file that are left has the bytes, the others lead there."""
    changed: list[File] = []
    for first, group in {each[0]: each for each in names.values()}.items():
        left = [path for path in group if path in after]
        if left and left[0] != first:
            changed.append(replace(before[first], path=left[0], mode=after[left[0]].mode))
            changed += [replace(after[path], link=f"/{left[0]}") for path in left[1:]]
    return after.replacing(changed)


def carry_over(editor: Editor, before: Bundle, after: Bundle) -> list[File]:
    """Have the editor make of the layers what turns one bundle into the other; return the files that are new.

    Where only the first of a file's names went, the next takes the bytes over by itself.
    """
    names = editor.image.names
    for path, file in before.items():
        group = names.get(path, [path])
        if path not in after:
            editor.drop(path)
        elif after[path] != file and group[0] == path:
            for name in group:
                if name in after:
                    editor.replace(name, after[path])
    return [file for path, file in after.items() if path not in before]


def new_layer(files: Iterable[File], created_by: str) -> NewLayer:
    """Return a layer of these files, sorted, so that their order decides nothing."""
    return NewLayer(files=tuple(sorted(files, key=lambda file: file.path)), created_by=created_by)
