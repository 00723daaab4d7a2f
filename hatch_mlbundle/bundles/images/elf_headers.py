"""Find the headers of an ELF file that streams by: its tables, the dynamic section, the names of the libraries that it needs, and the
wrappers of fat binaries.
"""

from __future__ import annotations

import struct

from hatch_mlbundle.binaries import elf_format as fmt
from hatch_mlbundle.binaries.elf import name_ranges
from hatch_mlbundle.binaries.elf_format import Encoding, Header, Segment
from hatch_mlbundle.binaries.fatbin_sections import WRAPPER, WRAPPER_MAGIC
from hatch_mlbundle.binaries.ranges import union
from hatch_mlbundle.errors import BinaryError

from .held_ranges import HeldRanges

MOST_WRAPPERS = 1 << 16
"""Wrappers that are held of a file; the largest real libraries have some 3,000."""

_HEAD = 12 << 20
"""Bytes at the start that are held: linkers put there what the dynamic linker goes by. Of NVIDIA's libraries, one has some 30 MB of it."""
_NAMES = 1 << 23
"""Bytes before the table of sections that are held: there linkers put the names of the sections, lld before those of the symbols."""
_AROUND = 1 << 20
"""Bytes around a dynamic section that are held: patchelf puts the names beside it, which come before anybody could ask for them."""
_BEHIND = 1 << 12
"""Bytes behind that table that are held: padding, or the beginning of what was appended to the file."""
_END = 1 << 8
"""Bytes at the end that are held: there packers leave their marks."""
_LARGEST_TABLE = 1 << 22
_LARGEST_NAMES = 1 << 16
"""Bytes of names that lie together, of which the libraries that a real file needs take some hundred."""
_MAGIC = struct.pack("<I", WRAPPER_MAGIC)


class ElfHeaders:
    """Takes a file's bytes in order, and has its headers held, wherever they say that they are."""

    def __init__(self, held: HeldRanges, head: bytes) -> None:
        self._held = held
        self._position = 0
        self._segments: tuple[Segment, ...] = ()
        self._data: list[Segment] = []
        """The segments that wrappers of fat binaries may be in."""
        self._dynamic: Segment | None = None
        self._is_named = False
        """Whether all names of libraries are held, or will be."""
        self._wrappers = 0
        self._tail = b""
        self._encoding = Encoding.of(head)
        """None once nothing more is to be found."""
        if not head.startswith(fmt.MAGIC) or self._encoding is None or len(head) < self._encoding.header.size:
            self._encoding = None
            return
        self._header = Header(*self._encoding.header.unpack_from(head))
        held.keep(0, _HEAD)
        held.keep(self._header.phoff, self._header.phoff + self._header.phnum * self._encoding.segment.size)
        held.keep(held.size - _END, held.size)
        table = self._header.shnum * self._encoding.section.size
        if self._header.shoff and table <= _LARGEST_TABLE:
            held.keep(self._header.shoff - _NAMES, self._header.shoff + table + _BEHIND)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, once they are held."""
        begin, self._position = self._position, self._position + len(chunk)
        if self._encoding is None:
            return
        try:
            self._look(self._encoding)
        except BinaryError:
            self._encoding = None
            return
        if any(each.offset < self._position and begin < each.end for each in self._data):
            self._find_wrappers(chunk, begin)
        self._tail = (self._tail + chunk[1 - WRAPPER.size :])[1 - WRAPPER.size :]

    def _look(self, encoding: Encoding) -> None:
        begin, size = self._header.phoff, self._header.phnum * encoding.segment.size
        if not self._segments and self._position >= begin + size:
            table = self._held.read(begin, size, "program headers")
            self._segments = tuple(encoding.unpack_segment(fields) for fields in encoding.segment.iter_unpack(table))
            self._data = [each for each in self._segments if each.type == fmt.PT_LOAD and each.flags & fmt.PF_W]
            self._dynamic = next((each for each in self._segments if each.type == fmt.PT_DYNAMIC and each.filesz), None)
            if self._dynamic:
                self._held.keep(self._dynamic.offset - _AROUND, self._dynamic.end + _AROUND)
        if self._segments and not self._is_named and (self._dynamic is None or self._position >= self._dynamic.end):
            self._is_named = True
            for start, end in union(each for _, each in name_ranges(self._held, encoding, self._segments, (fmt.DT_NEEDED,))):
                self._held.keep(start, min(end, start + _LARGEST_NAMES))

    def _find_wrappers(self, chunk: bytes, begin: int) -> None:
        """Hold the wrappers in a piece of the file that has bytes of data, with those that began in the piece before it."""
        data, begin = self._tail + chunk, begin - len(self._tail)
        at = data.find(_MAGIC)
        while 0 <= at <= len(data) - WRAPPER.size and self._wrappers < MOST_WRAPPERS:
            if (begin + at) % 8 == 0:
                self._held.hold(begin + at, data[at : at + WRAPPER.size])
                self._wrappers += 1
            at = data.find(_MAGIC, at + 1)
