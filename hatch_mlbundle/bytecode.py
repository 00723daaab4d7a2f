"""Read what a piece of bytecode names, as pysource.py does for source: its imports, and the strings that may be modules or paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .marshalled_code import Code, read_code
from .model import File
from .opcodes import imports_of
from .optimizer import Json
from .pysource import LONGEST, has_word, is_plain, with_stars

_SHORT = frozenset(b"zZ\xfa\xda")
_LONG = frozenset(b"aAut\xe1\xc1\xf5\xf4")
_MARK = re.compile(rb"[zZ\xfa\xda]([\x01-\xff])|[aAut\xe1\xc1\xf5\xf4]([\x01-\xff])\0\0\0", re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PROSE = frozenset(byte for byte in range(128) if not is_plain(chr(byte)))
_FILE_NAME = re.compile(r"[./]")


def examine_bytecode(file: File, *, words: Sequence[str]) -> Json:
    """Return what `examine_references` returns for source: the imports and strings that hold one of `words`; all where there are none.

    Strings stand as they do in the code: parts of a path or of an f-string each for itself. Of code that cannot be read, every
    string is taken for a module that might be imported.
    """
    data = file.read()
    if words and not any(True for _ in strings_holding(data, words)):
        return {"imports": [], "literals": [], "error": None}
    try:
        module = read_code(data)
        imports = sorted({(each.level, each.module, each.names) for each in imports_of(module)})
    except (ValueError, RecursionError):
        return _guessed(data, words)
    rows = [[0, "", level, name, list(names)] for level, name, names in imports if has_word((name, *names), words)]
    return {"imports": rows, "literals": _literals(set(_texts(module)), words), "error": None}


def strings_holding(data: bytes, words: Sequence[str]) -> Iterator[str]:
    """Yield the strings of marshalled data that hold one of `words`, in any case, and are no longer than names are.

    A string stands behind its type and its length (CPython, Python/marshal.c), so one is found from any place in it.
    """
    lowered = data.lower()
    for word in (word.lower().encode() for word in words):
        start = lowered.find(word)
        while start >= 0:
            yield from _around(data, start, start + len(word))
            start = lowered.find(word, start + len(word))


def _around(data: bytes, start: int, end: int) -> Iterator[str]:
    """Yield the strings that the bytes from `start` to `end` may be part of: between them and a string's begin stands no blank."""
    for at in range(start, max(1, start - LONGEST - 1), -1):
        length = data[at - 1]
        behind_short = data[at - 2] in _SHORT
        behind_long = at >= 5 and data[at - 5] in _LONG and data[at - 4 : at] == bytes([data[at - 4], 0, 0, 0])
        if behind_long:
            length = data[at - 4]
        if (behind_short or behind_long) and at + length >= end:
            yield data[at : at + length].decode("utf-8", "replace")
        if data[at - 1] in _PROSE:
            return


def _guessed(data: bytes, words: Sequence[str]) -> Json:
    texts = {data[m.end() : m.end() + (m[1] or m[2])[0]].decode("utf-8", "replace") for m in _MARK.finditer(data)}
    names = sorted(text for text in texts if _IDENTIFIER.fullmatch(text))
    held = [name for name in names if has_word((name,), words)]
    imports = [[0, "", level, name, names] for name in held for level in (0, 1, 2)]
    return {"imports": imports, "literals": _literals(texts, words), "error": None}


def _literals(texts: set[str], words: Sequence[str]) -> Json:
    """Return the strings that may name a module, a folder or, in a module that names a folder, a file in it."""
    plain = sorted(text for text in texts if is_plain(text))
    held = [text for text in plain if has_word((text,), words)]
    templates = [f"*{text}" for text in held if text.startswith(".")]
    files = [text for text in plain if _FILE_NAME.search(text)] if held and words else []
    rows = [[0, "", with_stars(text), "part"] for text in (*held, *templates)]
    return rows + [[0, "", with_stars(text), "file"] for text in files]


def _texts(value: object) -> Iterator[str]:
    """Yield the strings among a code object's constants, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Code):
        for constant in value.constants:
            yield from _texts(constant)
    elif isinstance(value, tuple):
        for each in value:
            yield from _texts(each)
