"""What sections of NVIDIA's fat binaries are made of, by architecture; the format is in binaries/fatbin.py."""

from __future__ import annotations

from collections.abc import Iterator

from hatch_mlbundle.binaries.fatbin import read_containers
from hatch_mlbundle.binaries.reader import RangeReader

from .inspector import HEADERS, OTHER, PADDING, Extent


def fatbin_extents(reader: RangeReader, start: int, end: int) -> Iterator[Extent]:
    """Yield what a section of fat binaries, bytes `start` to `end` of the file, is made of, without a gap; raises BinaryError."""
    at = start
    for container in read_containers(reader, start, end):
        if container.offset > at:
            yield Extent(at, container.offset, PADDING)
        yield Extent(container.offset, container.offset + container.header, HEADERS)
        for entry in container.entries:
            yield Extent(entry.offset, entry.end, entry.name or OTHER)
        at = container.end
    if end > at:
        yield Extent(at, end, PADDING)
