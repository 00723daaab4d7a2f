"""Deflate on all cores: large files block by block as pigz does, with a result that no number of threads changes."""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import BoundedSemaphore
from types import TracebackType

BLOCK = 1 << 19
"""Bytes of content that one thread deflates at a time."""

_WINDOW = 1 << 15
"""How far back deflate can refer (RFC 1951, section 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflated:
    """What a run of `deflate` read (`size` bytes with this CRC-32 and hex SHA-256) and wrote (`compressed_size` bytes)."""

    size: int
    compressed_size: int
    crc32: int
    sha256: str


class BlockPool(AbstractContextManager["BlockPool"]):
    """Threads that deflate blocks, for any number of streams at once; use it in a `with` statement.

    Blocks in flight are bounded over all streams together, so memory is about 3 MiB a worker whatever the files are.
    """

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="deflate")
        self._slots = BoundedSemaphore(2 * workers)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.shutdown(cancel_futures=True)

    def in_order(self, calls: Iterable[Callable[[], bytes]]) -> Iterator[bytes]:
        """Run the calls on the threads and yield their results in the order of the calls."""
        pending: deque[Future[bytes]] = deque()
        try:
            for call in calls:
                # Wait for a slot only with empty hands: streams that wait for each other's slots would wait for ever.
                while not self._slots.acquire(blocking=not pending):
                    yield self._oldest(pending)
                pending.append(self._threads.submit(call))
            while pending:
                yield self._oldest(pending)
        finally:
            for future in pending:
                future.cancel()
                self._slots.release()

    def _oldest(self, pending: deque[Future[bytes]]) -> bytes:
        result = pending[0].result()
        pending.popleft()
        self._slots.release()
        return result


def deflate(chunks: Iterable[bytes], sink: Callable[[bytes], object], *, level: int, pool: BlockPool) -> Deflated:
    """Write `chunks` to `sink` as one raw deflate stream (RFC 1951) of zlib's `level`, 1 to 9.

    The stream depends on the bytes, the level and the release of zlib alone. Each block is deflated by itself, with the
    32 KiB before it as preset dictionary, up to a byte boundary (Z_SYNC_FLUSH), so that the pieces join to one stream.
    """
    source = _Measured(chunks)
    compressed_size = 0
    for piece in pool.in_order(_calls(_blocks(source), level)):
        sink(piece)
        compressed_size += len(piece)
    return Deflated(size=source.size, compressed_size=compressed_size, crc32=source.crc32, sha256=source.digest.hexdigest())


def deflate_identity(level: int) -> str:
    """Return what beside the content decides the bytes of a stream, for cache keys: our way, the level and zlib's release."""
    return f"deflate block={BLOCK} level={level} zlib={zlib.ZLIB_RUNTIME_VERSION}"


class _Measured:
    """Chunks, and what went past of them."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size = 0
        self.crc32 = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            self.crc32 = zlib.crc32(chunk, self.crc32)
            self.digest.update(chunk)
            yield chunk


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, `BLOCK` at a time; the last block is shorter, or the only one and empty."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while len(buffer) > BLOCK:
            yield bytes(buffer[:BLOCK])
            del buffer[:BLOCK]
    yield bytes(buffer)


def _calls(blocks: Iterator[bytes], level: int) -> Iterator[Callable[[], bytes]]:
    window, block = b"", next(blocks)
    for following in blocks:
        yield _call(block, window, level, zlib.Z_SYNC_FLUSH)
        window, block = block[-_WINDOW:], following
    yield _call(block, window, level, zlib.Z_FINISH)


def _call(block: bytes, window: bytes, level: int, flush: int) -> Callable[[], bytes]:
    def run() -> bytes:
        deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=window)
        return deflater.compress(block) + deflater.flush(flush)

    return run
