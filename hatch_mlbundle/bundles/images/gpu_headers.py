"""Find GPU code in a file that streams by: the headers of fat binaries and offload bundles, wherever they lie.

The formats are those of binaries/fatbin.py and contents/offload_bundle.py, which read what is held here when all bytes were given.
"""

from __future__ import annotations

import struct

from hatch_mlbundle.binaries import fatbin
from hatch_mlbundle.contents import offload_bundle

from .held_ranges import HeldRanges

MOST_HEADERS = 1 << 17
"""Ranges that are held of a file; the largest real libraries have some 30,000. Of a file with more, nothing is found from there on."""

_CONTAINER = struct.pack("<IH", fatbin.MAGIC, 1)
_BUNDLE = offload_bundle.MAGIC
_ALIGNMENT = 8
"""The section that NVIDIA's compiler puts containers in is aligned to it, and so is each of them."""
_GLANCE = 64


class GpuHeaders:
    """Takes a file's bytes in order, and has the headers of GPU code held, with the zero bytes around them."""

    def __init__(self, held: HeldRanges) -> None:
        self._held = held
        self._position = 0
        self._rest = b""
        self._at = 0
        """Where what is to be looked at next begins: in `_rest`, or behind all bytes that were given."""
        self._end = 0
        """Where the container ends whose entry is at `_at`; a place before it where there is none."""
        self._zeros = 0
        """All bytes from here to `_at` are zero."""
        self._is_behind = False
        """Whether these follow GPU code at once."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        start, self._position = self._position, self._position + len(chunk)
        if self._at >= self._position or self._held.count > MOST_HEADERS:
            self._rest = b""
            return
        data = self._rest + chunk if self._rest else chunk[self._at - start :]
        base = self._at
        while self._at < self._position and self._held.count <= MOST_HEADERS and self._step(data, self._at - base):
            pass
        self._rest = data[self._at - base :]

    def finish(self) -> None:
        """Say that all bytes were given."""
        self._pass_over(self._rest)
        if self._is_behind:
            self._held.hold_zeros(self._zeros, self._at)

    def _step(self, data: bytes, begin: int) -> bool:
        """Go on from `begin` in the data; return False where that takes more of them."""
        if self._at < self._end:
            return self._entry(data, begin)
        found, magic = _first(data, begin, -self._at % _ALIGNMENT)
        self._pass_over(data[begin:found])
        if not magic:
            return False
        return self._container(data, found) if magic == _CONTAINER else self._bundle(data, found)

    def _container(self, data: bytes, begin: int) -> bool:
        size = fatbin.CONTAINER.size
        if len(data) - begin < size:
            return False
        _, _, header, body = fatbin.CONTAINER.unpack_from(data, begin)
        if not (size <= header and self._at + header + body <= self._held.size):
            self._pass_over(data[begin : begin + _ALIGNMENT])
            return True
        self._found(data[begin : begin + size], header, header + body)
        return True

    def _entry(self, data: bytes, begin: int) -> bool:
        size, room = fatbin.ENTRY.size, self._end - self._at
        if room >= size and len(data) - begin < size:
            return False
        header = payload = 0
        if room >= size:
            _, _, header, payload, _, _ = fatbin.ENTRY.unpack_from(data, begin)
        if size <= header and header + payload <= room:
            self._found(data[begin : begin + size], header + payload, room)
        else:  # no container after all, or a damaged one
            self._end, self._zeros, self._is_behind = self._at, self._at, False
        return True

    def _bundle(self, data: bytes, begin: int) -> bool:
        read = offload_bundle.measure(data, begin)
        if read is None:
            return False
        header, size = read
        if header and self._at + size <= self._held.size:
            self._found(data[begin : begin + header], size, size)
        else:
            self._pass_over(data[begin : begin + len(_BUNDLE)])
        return True

    def _found(self, header: bytes, passed: int, size: int) -> None:
        """Hold a header, and go on `passed` bytes; all GPU code that belongs together ends after `size`."""
        if self._at >= self._end:
            self._held.hold_zeros(self._zeros, self._at)
        self._held.hold(self._at, header)
        self._end = self._at + size
        self._at += passed
        self._zeros, self._is_behind = self._at, True

    def _pass_over(self, data: bytes) -> None:
        """Pass over bytes that are no GPU code, and note where zero bytes begin and end among them."""
        leading = _leading_zeros(data)
        if self._is_behind and leading < len(data):
            self._held.hold_zeros(self._zeros, self._at + leading)
            self._is_behind = False
        self._at += len(data)
        if leading < len(data):
            self._zeros = self._at - _trailing_zeros(data)


def _first(data: bytes, begin: int, aligned: int) -> tuple[int, bytes]:
    """Return where the first magic from `begin` on is, and which; else where one could begin that is not there as a whole, and nothing.

    `aligned` is the distance from `begin` to a place where a container may lie.
    """
    bundle = data.find(_BUNDLE, begin)
    end = len(data) if bundle < 0 else bundle
    container = data.find(_CONTAINER, begin, end)
    while container >= 0 and (container - begin - aligned) % _ALIGNMENT:
        container = data.find(_CONTAINER, container + 1, end)
    if container >= 0:
        return container, _CONTAINER
    return (bundle, _BUNDLE) if bundle >= 0 else (max(begin, len(data) - len(_BUNDLE) + 1), b"")


def _leading_zeros(data: bytes) -> int:
    glance = data[:_GLANCE].lstrip(b"\0")
    return min(len(data), _GLANCE) - len(glance) if glance else len(data) - len(data.lstrip(b"\0"))


def _trailing_zeros(data: bytes) -> int:
    glance = data[-_GLANCE:].rstrip(b"\0")
    return min(len(data), _GLANCE) - len(glance) if glance else len(data) - len(data.rstrip(b"\0"))
