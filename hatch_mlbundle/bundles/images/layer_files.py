"""The bytes of single files in layers: those that are stored as they are lie where they lie, others are unpacked once, to a disk."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from hatch_mlbundle.atomic import make_folder
from hatch_mlbundle.model import Content
from hatch_mlbundle.storage import storage_errors

from .extent import Extent
from .image import LayerPart, read_image
from .layer_packing import suffix_of
from .layer_stream import LayerStream
from .layouts import Layout
from .tar_format import REGULAR
from .tar_reader import Member
from .together import read_together
from .tree import Stored

_Bytes: TypeAlias = tuple[int, str]
"""A file's size and SHA-256, by which it is found again."""


def layer_contents(layout: Layout, wanted: Mapping[int, Stored], scratch: Path) -> Mapping[int, Content]:
    """Return, by `id` of each Stored, a content that gives its bytes; each layer is unpacked at most once, into `scratch`.

    What is found has the size and hash that it had when the image was read. Raises ArtifactError where the image is damaged or no longer
    the one that was read, StorageError where the disk is full.
    """
    make_folder(scratch)
    parts = read_image(layout).layers
    by_layer: defaultdict[int, set[_Bytes]] = defaultdict(set)
    for each in wanted.values():
        by_layer[each.layer].add((each.size, each.sha256))
    numbers = sorted(number for number in by_layer if number <= len(parts))

    def read(position: int, raw: Iterator[bytes], _size: int) -> dict[_Bytes, Extent]:
        number = numbers[position]
        finder = _Finder(layout, number, parts[number - 1], by_layer[number])
        return finder.found(raw, scratch / f"layer-{number}")

    found = dict(zip(numbers, read_together(layout, [parts[number - 1].name for number in numbers], read), strict=True))
    contents: dict[int, Content] = {}
    for key, each in wanted.items():
        content = found.get(each.layer, {}).get((each.size, each.sha256))
        if content is None:
            raise layout.fault(f"layer {each.layer} no longer has a file that was in it when the image was read; it was changed")
        contents[key] = content
    return contents


class _Finder:
    """Looks for files of one layer."""

    def __init__(self, layout: Layout, number: int, part: LayerPart, wanted: set[_Bytes]) -> None:
        self._layout = layout
        self._number = number
        self._part = part
        self._wanted = wanted
        self._sizes = {size for size, _ in wanted}
        self._place = layout.extent(part.name)
        self._found: dict[_Bytes, Extent] = {}

    def found(self, raw: Iterator[bytes], path: Path) -> dict[_Bytes, Extent]:
        """Return where the files are: in the layer itself, or in a new file at `path`."""
        stream = LayerStream(self._layout, self._number, self._part, raw)
        with storage_errors(path), path.open("xb") as sink:
            for member, _ in stream.members():
                if member.type == REGULAR and member.size in self._sizes:
                    self._look_at(member, stream, sink)
        stream.finish()
        return self._found

    def _look_at(self, member: Member, stream: LayerStream, sink: BinaryIO) -> None:
        """Find out whether a file of a wanted size is wanted."""
        place = self._place if member.size == member.stored and not suffix_of(stream.head) else None
        before, start, digest = stream.position, sink.tell(), hashlib.sha256()
        for chunk in stream.reader.chunks():
            digest.update(chunk)
            if place is None:
                sink.write(chunk)
        key = (member.size, digest.hexdigest())
        if key in self._wanted and key not in self._found:
            if place:
                self._found[key] = Extent(path=place.path, offset=place.offset + before, size=member.size)
            else:
                self._found[key] = Extent(path=Path(sink.name), offset=start, size=member.size)
        elif place is None:
            sink.seek(start)
            sink.truncate()
