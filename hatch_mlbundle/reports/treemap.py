"""The treemap of an artifact as boxes and labels: owners, the folders in them, and the large files in those."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hatch_mlbundle.manifest import FileRow, Manifest
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_percent, format_size

from .palette import GREY, HUES, Colour
from .squarify import Rectangle, squarify

WIDTH, HEIGHT = 1200, 675
"""Pixels of the whole picture."""

_HEAD = 44
"""Pixels at the top for what the picture is of."""
_SMALLEST = 220.0
"""Square pixels that a box has at least; what is smaller goes into one with others."""
_DEPTHS = 4
_FONTS = (15, 12, 11, 11)
"""Pixels of the labels by depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An owner, a folder or a file, its bytes installed, and what is in it, the largest first; `merged` is what is too small to be seen."""

    name: str
    size: int
    children: tuple[Part, ...] = ()
    merged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A line of text that starts at `x`, or ends there; `y` is its baseline, `size` the font's, in pixels."""

    x: float
    y: float
    size: int
    text: str
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box of the map, what it tells of itself, and the label that fits into it, None where none does."""

    place: Rectangle
    hue: Colour
    depth: int
    told: str
    label: Label | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All of a picture: its two head lines and the boxes, each before those inside it."""

    title: str
    sizes: str
    head: tuple[Label, ...]
    boxes: tuple[Box, ...]

    @property
    def labels(self) -> tuple[Label, ...]:
        """All text in the picture."""
        return (*self.head, *(box.label for box in self.boxes if box.label))


def scene(manifest: Manifest) -> Scene:
    """Return the picture of an artifact as it is after all steps."""
    after = manifest.artifact.after
    packed = f", {format_size(after.size)} compressed" if manifest.compresses else ""
    sizes = f"{format_size(after.installed)} installed{packed}, {after.files:,} files"
    title = printable(manifest.artifact.name)
    left = WIDTH - text_width(sizes, 15)
    head = (
        Label(x=4.0, y=28.0, size=20, text=_cut(title, 20, left - 32) or ""),
        Label(x=WIDTH - 4.0, y=28.0, size=15, text=sizes, ends=True),
    )
    room = Rectangle(0.0, float(_HEAD), float(WIDTH), float(HEIGHT - _HEAD))
    return Scene(title=title, sizes=sizes, head=head, boxes=tuple(_boxes(_owners(manifest.files), room)))


def text_width(text: str, size: int) -> float:
    """Return the pixels that a text takes at most in an ordinary sans-serif font."""
    return size * sum(map(_advance, text))


def _advance(character: str) -> float:
    """Return a character's width in ems, a little more than in DejaVu Sans, which is wide."""
    if character in "ijlI|.,:;'! -/()[]ftr":
        return 0.3 if character in "ijlI" else 0.42
    if character in "mwMWOQ@%…_+<>=~^&#":
        return 1.01
    return 0.65 if character.isascii() and not character.isupper() else 0.78 if character.isascii() else 1.05


def _owners(files: Iterable[FileRow]) -> list[Part]:
    """Return the owners, their folders below what all their files have in common, and so on."""
    owned: defaultdict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
    for row in files:
        if row.after and row.after.size:
            owned[row.owner].append((tuple(row.path.split("/")), row.after.size))
    return _ordered(_part(owner, _without_common(members)) for owner, members in owned.items())


def _without_common(members: Sequence[tuple[tuple[str, ...], int]]) -> list[tuple[tuple[str, ...], int]]:
    folders = [path[:-1] for path, _ in members]
    first, last = min(folders), max(folders)
    shared = next((count for count, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return [(path[shared:], size) for path, size in members]


def _part(name: str, members: Sequence[tuple[tuple[str, ...], int]], depth: int = 1) -> Part:
    """Return what the files, by their paths in it, add up to; a folder that is alone in another one has its name with it."""
    size, first = sum(size for _, size in members), members[0][0]
    while depth > 1 and len(first) > 1 and len({path[0] for path, _ in members}) == 1:
        name, members = f"{name}/{first[0]}", [(path[1:], of) for path, of in members]
        first = members[0][0]
    if depth >= _DEPTHS or not first:
        return Part(name=name, size=size)
    inside: defaultdict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
    for path, of in members:
        inside[path[0]].append((path[1:], of))
    return Part(name=name, size=size, children=tuple(_ordered(_part(*each, depth + 1) for each in inside.items())))


def _ordered(parts: Iterable[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: (-part.size, part.name))


def _boxes(owners: Sequence[Part], room: Rectangle) -> Iterable[Box]:
    whole = sum(owner.size for owner in owners)
    for number, (owner, place) in enumerate(_divided(owners, room)):
        hue = GREY if owner.merged else HUES[number % len(HUES)]
        yield from _nested(owner, place, hue, 0, whole, ())


def _nested(part: Part, place: Rectangle, hue: Colour, depth: int, whole: int, above: tuple[str, ...]) -> Iterable[Box]:
    box = place.inside(1.0)
    path = (*above, printable(part.name))
    told = f"{'/'.join(path)}: {format_size(part.size)}, {format_percent(part.size, whole)}"
    label = _label(part, box, depth)
    yield Box(place=box, hue=hue, depth=depth, told=told, label=label)
    strip = _FONTS[depth] + 5.0 if label else 0.0
    room = box.inside(2.0, strip)
    for child, inner in _inside(part, room):
        yield from _nested(child, inner, GREY if child.merged else hue, depth + 1, whole, path)


def _inside(part: Part, room: Rectangle) -> list[tuple[Part, Rectangle]]:
    """Return what of a part's inside is worth showing: nothing in a small room, nor where most of it is too small to be seen."""
    if not part.children or room.width * room.height < 4 * _SMALLEST or min(room.width, room.height) < 12:
        return []
    divided = _divided(part.children, room)
    return [] if any(child.merged and 2 * child.size > part.size for child, _ in divided) else divided


def _divided(parts: Sequence[Part], room: Rectangle) -> list[tuple[Part, Rectangle]]:
    """Divide the room among the parts; those too small to be seen are one box."""
    whole = sum(part.size for part in parts)
    enough = [part for part in parts if part.size * room.width * room.height >= _SMALLEST * whole]
    rest = parts[len(enough) :]
    if len(rest) == 1:
        enough, rest = list(parts), ()
    if rest:
        others = Part(name=f"[{len(rest):,} others]", size=sum(part.size for part in rest), merged=True)
        enough = sorted([*enough, others], key=lambda part: -part.size)
    return list(zip(enough, squarify([part.size for part in enough], room), strict=True))


def _label(part: Part, box: Rectangle, depth: int) -> Label | None:
    """Return the name, with the size where there is room; None where not even a part of the name fits."""
    size = _FONTS[depth]
    if box.height < size + 5:
        return None
    name, told = printable(part.name), f"{printable(part.name)}  {format_size(part.size)}"
    room = box.width - 8
    text = told if text_width(told, size) <= room else _cut(name, size, room)
    return Label(x=box.x + 4, y=box.y + size + 1, size=size, text=text) if text else None


def _cut(text: str, size: int, room: float) -> str | None:
    """Return the text, or as much of its start as fits with an ellipsis, at least three characters."""
    if text_width(text, size) <= room:
        return text
    width = text_width("…", size)
    for count, character in enumerate(text):
        width += size * _advance(character)
        if width > room:
            return f"{text[:count]}…" if count >= 3 else None
    return None
