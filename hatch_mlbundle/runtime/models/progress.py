"""How far a download is, on one line of a terminal; nothing where standard error is none."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

_BETWEEN = 0.25
"""Seconds from one update to the next."""


class Progress:
    """Counts the bytes of a model as they come, and shows them: `with Progress(name, size) as told: fetch(..., told)`."""

    def __init__(self, name: str, size: int) -> None:
        self._name = "".join(each if " " <= each <= "~" else "?" for each in name)
        self._size = size
        self._there = 0
        self._came = 0
        self._start = time.monotonic()
        self._next = self._start + _BETWEEN
        self._columns = _columns()
        self._drawn = False

    def __enter__(self) -> Callable[[int], None]:
        return self._count

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._write(f"\r{self._line()}\n")

    def _count(self, more: int) -> None:
        self._there += more
        self._came += max(more, 0)
        now = time.monotonic()
        if self._columns and now >= self._next:
            self._next = now + _BETWEEN
            self._write(f"\r{self._line()}")

    def _line(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = self._came / seconds
        percent = 100 * self._there // self._size if self._size else 100
        told = f" {percent:3}%  {_size(self._there)} of {_size(self._size)}  {_size(rate)}/s  "
        left = (self._size - self._there) / rate if rate else 0
        told += f"{_duration(left)} left" if self._there < self._size else f"{_duration(seconds)}"
        width = self._columns - 1
        return (self._name[: max(width - len(told), 0)] + told)[:width].ljust(width)

    def _write(self, text: str) -> None:
        self._drawn = True
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # the terminal went away; the download goes on
            self._columns, self._drawn = 0, False


def _columns() -> int:
    """Return how wide the terminal is, 0 where standard error is none."""
    try:
        if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return 0
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 0


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
