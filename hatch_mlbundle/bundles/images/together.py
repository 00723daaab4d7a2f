"""Read parts of an image side by side, so that nothing runs on behind the back of whoever gave up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Condition
from typing import TypeVar

from .layouts import Layout, Reader

T = TypeVar("T")


class _StoppedError(Exception):
    """Another reader has failed; its error is the one that is told."""


class _Readers:
    """How many readers run, and whether they are to stop."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._running = 0
        self._is_stopped = False

    def watched(self, reader: Reader[T]) -> Reader[T]:
        def read(position: int, raw: Iterator[bytes], size: int) -> T:
            self._begin()
            try:
                return reader(position, self._until_stopped(raw), size)
            except BaseException:
                self._is_stopped = True
                raise
            finally:
                self._end()

        return read

    def stop(self) -> None:
        """Let no reader go on, and wait until none runs."""
        with self._changed:
            self._is_stopped = True
            self._changed.wait_for(lambda: not self._running)

    def _begin(self) -> None:
        with self._changed:
            if self._is_stopped:
                raise _StoppedError
            self._running += 1

    def _end(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _until_stopped(self, raw: Iterator[bytes]) -> Iterator[bytes]:
        for piece in raw:
            if self._is_stopped:
                raise _StoppedError
            yield piece


def read_together(layout: Layout, names: Sequence[str], reader: Reader[T]) -> list[T]:
    """Return what `reader` makes of each part, in order, as `Layout.read_all` does; when it raises, no reader runs any more.

    The first reader that fails stops the others.
    """
    readers = _Readers()
    failures: list[BaseException] = []

    def read(position: int, raw: Iterator[bytes], size: int) -> T:
        try:
            return reader(position, raw, size)
        except _StoppedError:
            raise
        except BaseException as error:
            failures.append(error)
            raise

    try:
        return layout.read_all(names, readers.watched(read))
    except _StoppedError:
        raise failures[0] from None
    finally:
        readers.stop()
