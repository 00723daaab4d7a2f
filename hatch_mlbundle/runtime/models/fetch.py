"""Fetch one file, whose size and SHA-256 are known, from the first of its sources that gives it.

One thread receives while the other hashes and writes: a download takes as long as the slower of the two.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from . import transports
from .checking import CHUNK, Part, Told
from .descriptor import ModelFile
from .errors import ModelUnavailableError
from .transports import BrokenError, RefusedError

_Item: TypeAlias = int | memoryview | BaseException

_CHUNKS = 4
_SOON = 0.2
"""Seconds after which a chunk is handed on even if it is not full."""
_TRIES = 3
"""How often a source may fail in a row, without having given more, before the next is asked."""
_PAUSE = 0.25
"""Seconds until a source that failed is asked again, the second time twice as many."""
_WORTH = 1 << 20
"""Bytes that a try has to give so that it does not count; a twentieth of a small file."""
_SLOWEST = 1000
"""Bytes a second: what is slower has stalled."""
_LONGEST_WAIT = 10
"""Seconds that a source may ask to be left alone."""


def fetch(file: ModelFile, urls: Sequence[str], descriptor: int, told: Told) -> None:
    """Complete a file that is open for reading and writing, so that it has exactly the bytes it should.

    What an earlier try left in it is hashed and gone on from, where the source can; else it is fetched anew. `urls` are those of this very
    file (transports.py, `url_of`). The file is brought to the disk. Raises ModelUnavailableError, which names each source and what was
    wrong with it: then the file may hold a part to go on from, but never bytes known to be wrong.
    """
    part = Part(file, descriptor, told)
    part.recover()
    left = iter(dict.fromkeys(urls))
    problems: list[str] = []
    while not part.is_complete():
        url = next(left, None)
        if url is None:
            raise ModelUnavailableError(f"'{file.path}' cannot be fetched: {'; '.join(problems) or 'it has no source'}")
        try:
            _fetch_from(url, part)
        except RefusedError as error:
            problems.append(f"{transports.shown(url)}: {error}")
    os.fsync(descriptor)


def _fetch_from(url: str, part: Part) -> None:
    """Complete the part from one source; raises RefusedError where it does not give it."""
    if not url.startswith("file:") and os.environ.get("MLBUNDLE_OFFLINE", "0") not in ("", "0"):
        raise RefusedError("MLBUNDLE_OFFLINE is set")
    source = transports.Source(url, part.file.size)
    worth = min(_WORTH, part.file.size // 20 + 1)
    best, tries, anew = part.position, 0, False
    while True:
        try:
            start = _receive(source, part)
            if part.is_complete():
                return
            if anew or not start:
                raise RefusedError("it gives other bytes than it should (SHA-256 differs)")
            anew = True  # perhaps what was there before was wrong
        except BrokenError as error:
            tries = 1 if part.position >= best + worth else tries + 1
            if tries == _TRIES or error.wait > _LONGEST_WAIT:
                raise RefusedError(str(error)) from None
            time.sleep(max(error.wait, _PAUSE * tries))
        best = max(best, part.position)


def _receive(source: transports.Source, part: Part) -> int:
    """Append what a source gives of what is missing; return the byte that it began with."""
    free: SimpleQueue[bytearray | None] = SimpleQueue()
    full: SimpleQueue[_Item] = SimpleQueue()
    for _ in range(_CHUNKS):
        free.put(bytearray(CHUNK))
    threading.Thread(target=_pump, args=(source, part.position, free, full), daemon=True).start()
    try:
        start: int = _taken(full, 3 * source.timeout)
        if start != part.position:
            part.discard()
        since, before = time.monotonic(), part.position
        while data := _taken(full, source.timeout + 1):
            part.append(data)
            free.put(data.obj)
            if time.monotonic() > since + source.timeout:
                if part.position < before + _SLOWEST * source.timeout:
                    raise BrokenError(f"it gives less than {_SLOWEST} bytes a second")
                since, before = time.monotonic(), part.position
    finally:
        free.put(None)
    if part.position < part.file.size:
        raise BrokenError(f"it ends after {part.position:,} of {part.file.size:,} bytes")
    return start


def _taken(full: SimpleQueue[_Item], timeout: float) -> Any:
    """Return what the other thread received; raise what went wrong there."""
    try:
        item = full.get(timeout=timeout)
    except Empty:
        raise BrokenError(f"nothing came for {timeout:.0f} s") from None
    if isinstance(item, BaseException):
        raise transports.explained(item) from None
    return item


def _pump(source: transports.Source, position: int, free: SimpleQueue[bytearray | None], full: SimpleQueue[_Item]) -> None:
    """Receive, in a thread of its own: the byte that it begins with, chunks, at the end an empty one or what went wrong."""
    try:
        with source.opened(position) as (start, left, read):
            full.put(start)
            while chunk := free.get():
                count = _filled(memoryview(chunk)[:left], read)
                left -= count
                full.put(memoryview(chunk)[:count])
                if not count:
                    break
    except BaseException as error:
        full.put(error)


def _filled(view: memoryview, read: Callable[[memoryview], int | None]) -> int:
    """Fill a chunk, as far as bytes come soon; return how many there are, 0 at the end."""
    count, start = 0, time.monotonic()
    while count < len(view) and time.monotonic() < start + _SOON:
        more = read(view[count:])
        if not more:
            break
        count += more
    return count
