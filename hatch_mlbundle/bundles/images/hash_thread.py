"""Hash what streams by on a thread of its own, while the next bytes are unpacked: both leave Python's lock alone."""

from __future__ import annotations

import hashlib
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import final

_BATCH = 1 << 17
"""Bytes handed over at a time: less costs more than to hash them."""
_MOST_WAITING = 16


@final
class HashThread:
    """A thread that hashes; a context manager. Several sums may be made at once."""

    def __init__(self) -> None:
        self._waiting: Queue[tuple[hashlib._Hash, bytes] | None] = Queue(_MOST_WAITING)
        self._thread = Thread(target=self._run, name="mlbundle-hash", daemon=True)

    def __enter__(self) -> HashThread:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._waiting.put(None)
        self._thread.join()

    def hand_over(self, digest: hashlib._Hash, data: bytes) -> None:
        """Have data hashed, after all that was handed over before."""
        self._waiting.put((digest, data))

    def wait(self) -> None:
        """Wait until everything is hashed."""
        self._waiting.join()

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None:
            digest, data = task
            digest.update(data)
            self._waiting.task_done()


class Sum:
    """A hash of bytes that come in pieces of any size."""

    def __init__(self, algorithm: str, thread: HashThread) -> None:
        self.algorithm = algorithm
        self._digest = hashlib.new(algorithm)
        self._thread = thread
        self._pieces: list[bytes] = []
        self._size = 0

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= _BATCH:
            self._hand_over()

    def hexdigest(self) -> str:
        """Return the hash of all that was given, in hex."""
        self._hand_over()
        self._thread.wait()
        return self._digest.hexdigest()

    def _hand_over(self) -> None:
        self._thread.hand_over(self._digest, b"".join(self._pieces))
        self._pieces, self._size = [], 0
