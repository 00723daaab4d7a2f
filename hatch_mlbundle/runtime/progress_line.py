"""How far a download is, on one line of a terminal, nothing where standard error is none; and what is said beside that."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable

_BETWEEN = 0.25
"""Seconds from one update to the next."""


def say(line: str) -> None:
    """Say something on a line of its own of standard error, in place of what is drawn there; names may hold anything."""
    width = _columns() - 1
    with contextlib.suppress(OSError, ValueError):
        print(("\r" + _shown(line).ljust(width) if width > 0 else _shown(line)), file=sys.stderr, flush=True)  # noqa: T201


class Progress:
    """Counts a model's bytes as they come, and shows them: `with Progress(name, size) as told: fetch(..., told)`."""

    def __init__(self, name: str, size: int) -> None:
        self._name = _shown(name)
        self._size = size
        self._there = 0
        self._next = time.monotonic() + _BETWEEN
        self._columns = _columns()
        self._recent = deque([(time.monotonic(), 0)], maxlen=20)
        """When how many bytes were there, at the last updates."""

    def __enter__(self) -> Callable[[int], None]:
        return self._count

    def __exit__(self, *_: object) -> None:
        if len(self._recent) > 1:
            self._draw("\n")

    def _count(self, more: int) -> None:
        self._there += more
        if self._columns and time.monotonic() >= self._next:
            self._draw("")

    def _draw(self, end: str) -> None:
        now = time.monotonic()
        since, before = self._recent[0]
        rate = max((self._there - before) / max(now - since, 1e-3), 0)
        missing = self._size - self._there
        left = f", {_duration(missing / rate)} left" if missing and rate else ""
        there = f"{self._there / 1e6:,.1f} of {self._size / 1e6:,.1f} MB"
        told = f" {100 * self._there // max(self._size, 1):3}%  {there}, {rate / 1e6:,.1f} MB/s{left}"
        width = self._columns - 1
        with contextlib.suppress(OSError, ValueError):  # the terminal may go away, the download goes on
            print("\r" + (self._name[: max(width - len(told), 0)] + told)[:width].ljust(width), end=end, file=sys.stderr, flush=True)  # noqa: T201
        self._recent.append((now, self._there))
        self._next = now + _BETWEEN


def _columns() -> int:
    """Return how wide the terminal is; 0 where standard error is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or None in an application without a console
        return (os.get_terminal_size(sys.stderr.fileno()).columns or 80) if sys.stderr.isatty() else 0
    return 0


def _shown(text: str) -> str:
    return "".join(each if " " <= each <= "~" else "?" for each in text)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
