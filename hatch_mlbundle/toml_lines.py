"""Find the line of a TOML file that sets a key: tomllib tells values, not where they stand.

The text must be valid TOML 1.0 (toml.io), which whoever read its values has made sure of; of any other the lines are guesses.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TypeAlias

Key: TypeAlias = tuple[str | int, ...]
"""The names of tables and keys, and the positions in arrays, that lead to a value."""

_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def toml_lines(text: str) -> Mapping[Key, int]:
    """Return the line, from 1, of every table, key and item of an array; of a table that is opened twice, the first."""
    ends = [match.start() for match in re.finditer("\n", text)]
    found: dict[Key, int] = {}
    with suppress(IndexError, AttributeError, RecursionError):  # no TOML: what was found stays
        for key, place in _Reader(text).document():
            found.setdefault(key, bisect_left(ends, place) + 1)
    return found


def line_of(lines: Mapping[Key, int], key: Key) -> int:
    """Return the line of a key, or of the nearest table around it; 1 where there is none."""
    return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 1)


class _Reader:
    """Walks through a document; `arrays` counts the tables of each array of tables."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.arrays: dict[Key, int] = {}

    def document(self) -> Iterator[tuple[Key, int]]:
        table: Key = ()
        self._skip(_GAP)
        while self.at < len(self.text):
            start = self.at
            if self.text.startswith("[", start):
                table = self._header()
                yield table, start
            else:
                yield from self._pair(table)
            self._skip(_GAP)

    def _header(self) -> Key:
        repeated = self.text.startswith("[[", self.at)
        self.at += 2 if repeated else 1
        names = self._names()
        self.at += 2 if repeated else 1
        table = self._resolved(names[:-1])
        key = (*table, names[-1])
        if not repeated:
            return self._resolved(names)
        self.arrays[key] = self.arrays.get(key, -1) + 1
        return (*key, self.arrays[key])

    def _resolved(self, names: list[str]) -> Key:
        """Return the table under these names: of an array of tables, the last one (TOML 1.0, "Array of Tables")."""
        key: Key = ()
        for name in names:
            key = (*key, name)
            if key in self.arrays:
                key = (*key, self.arrays[key])
        return key

    def _pair(self, table: Key) -> Iterator[tuple[Key, int]]:
        start = self.at
        names = self._names()
        key: Key = (*table, *names)
        yield from ((key[:end], start) for end in range(len(table) + 1, len(key) + 1))
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        yield from self._value(key)

    def _value(self, key: Key) -> Iterator[tuple[Key, int]]:
        opened = self.text[self.at]
        if opened == "[":
            yield from self._array(key)
        elif opened == "{":
            yield from self._inline_table(key)
        else:
            self._skip(_STRING if opened in "\"'" else _SCALAR)

    def _array(self, key: Key) -> Iterator[tuple[Key, int]]:
        self.at += 1
        position = 0
        while not self._closed("]"):
            yield (*key, position), self.at
            yield from self._value((*key, position))
            position += 1

    def _inline_table(self, key: Key) -> Iterator[tuple[Key, int]]:
        self.at += 1
        while not self._closed("}"):
            yield from self._pair(key)

    def _closed(self, bracket: str) -> bool:
        """Go to the next item, past a comma; return whether there is none, and then past the bracket."""
        self._skip(_GAP)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_GAP)
        if self.text[self.at] != bracket:
            return False
        self.at += 1
        return True

    def _names(self) -> list[str]:
        """Read a dotted key, and the blanks behind it."""
        names = []
        while True:
            self._skip(_BLANK)
            quoted = self.text[self.at] in "\"'"
            part = self._skip(_STRING if quoted else _BARE)
            names.append(_unquoted(part) if quoted else part)
            self._skip(_BLANK)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        self.at = match.end()  # type: ignore[union-attr]
        return match[0]  # type: ignore[index]


def _unquoted(part: str) -> str:
    if part.startswith("'"):
        return part[1:-1]
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[3], match[3]) if match[3] else chr(int(match[1] or match[2], 16)), part[1:-1])
