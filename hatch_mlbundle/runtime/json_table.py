"""Read an object of a JSON text key by key, and say what is wrong with it by its path in the text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\\\ud800-\udfff]+")
"""What a path or a URL is made of: no control characters, nothing that is no UTF-8, and no `\\`, which separates on Windows."""
_DRIVE = re.compile("[A-Za-z]:")


class Table:
    """An object of a JSON text; `where` is its path there, empty for the whole. All methods raise ValueError, in one line."""

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'it'} is no object")
        self._value = value
        self._where = where

    def fault(self, key: str, problem: str) -> ValueError:
        """Return what to raise about a key."""
        return ValueError(f"{self._key(key)} {problem}")

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a value of a type, or the default where there is none and that is of the type."""
        value = self._value.get(key, default)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fault(key, "is missing" if value is None else f"is no {kind.__name__}")
        return value

    def tables(self, key: str) -> Iterator[Table]:
        """Yield the objects of a list."""
        for number, value in enumerate(self.get(key, list)):
            yield Table(value, f"{self._key(key)}[{number}]")

    def table(self, key: str) -> Table | None:
        """Return an object; None where there is none."""
        value = self._value.get(key)
        return None if value is None else Table(value, self._key(key))

    def path(self, key: str) -> str:
        """Return a relative path, with `/`, that leads to below where it starts, on any system that knows it."""
        value: str = self.get(key, str)
        leads_out = not {"", ".", ".."}.isdisjoint(value.split("/")) or _DRIVE.match(value) or (os.name == "nt" and ":" in value)
        if leads_out or not _PLAIN.fullmatch(value):
            raise self.fault(key, f"{value!r} is no path within a folder")
        return value

    def name(self, key: str) -> str:
        """Return a file's name."""
        value = self.path(key)
        if "/" in value:
            raise self.fault(key, f"{value!r} is no file's name")
        return value

    def lines(self, key: str) -> tuple[str, ...]:
        """Return a list of texts of one line each, none of them empty; nothing where there is none."""
        values = self.get(key, list, [])
        if not all(isinstance(value, str) and _PLAIN.fullmatch(value) for value in values):
            raise self.fault(key, "is no list of lines of text")
        return tuple(values)

    def line(self, key: str) -> str:
        """Return a text of one line, in which `\\` may be; empty where there is none."""
        value: str = self.get(key, str, "")
        if value and not _PLAIN.fullmatch(value.replace("\\", "/")):
            raise self.fault(key, "is no line of text")
        return value

    def _key(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key
