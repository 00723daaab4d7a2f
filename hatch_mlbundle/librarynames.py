"""Find the names of native libraries in code and data: what `dlopen`, `ctypes` and their like may be given."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from .model import Content
from .optimizer import Json

_LIBRARY = re.compile(r"(?P<core>.+?)(?:-[0-9a-f]{8,})*\.so(?:\..*)?", re.DOTALL)
_SHORTEST = 6
"""Characters of the shortest beginning of a name that is searched for by itself: `lib` and three more."""
_LOADERS = re.compile(rb"CDLL|cdll|dlopen|find_library|[lL]oad_?[lL]ibrary")
_COMPOSED = re.compile(rb"""(?:[*}"']|%s)\.so\b""")
_COMPOSED_CODE = re.compile(rb"[\x03-\x0f]\.so|(?:\*|%s|\})\.so", re.DOTALL)
_CODE = rb"[zZaA\xfa\xda\xe1\xc1]"
"""Types of ASCII strings in marshalled code, plain and as a reference (CPython, marshal.c)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a library is searched for by: `parts` are its name without suffix and hash, and the beginnings of it, longest first; `bare`
    is what `find_library` is given for it.
    """

    parts: tuple[str, ...]
    bare: str | None


def wanted_for(names: Iterable[str]) -> Wanted:
    """Return what to search for where a library goes by these file names."""
    cores = sorted({match["core"] if (match := _LIBRARY.fullmatch(name)) else name for name in names})
    beginnings = {core[: cut.start()] for core in cores for cut in re.finditer(r"(?<=\w)[-_.]", core) if cut.start() >= _SHORTEST}
    bare = next((core[3:] for core in cores if core.startswith("lib") and len(core) > 3), None)
    return Wanted(parts=(*cores, *sorted(beginnings - {*cores}, key=lambda part: (-len(part), part))), bare=bare)


def names_in(content: Content, parts: Sequence[str]) -> list[str]:
    """Return which of the names occur in the bytes, sorted; read in pieces, a name may be part of a longer one."""
    missing, found = {part: part.encode(errors="surrogateescape") for part in parts}, []
    overlap, window = max(map(len, missing.values()), default=1), b""
    for chunk in content.chunks():
        window = window[-overlap:] + chunk
        hits = [part for part, needle in missing.items() if needle in window]
        found += hits
        for part in hits:
            del missing[part]
    return sorted(found)


def names_in_code(data: bytes, parts: Sequence[str], bares: Sequence[str], *, compiled: bool) -> Json:
    """Return what Python source, or marshalled code, names, as JSON.

    `names` are the parts that occur in it; where it loads libraries by name, too, `bares` are the whole strings among those given, and
    `composes` says that it puts such names together, or lists files that have them.
    """
    names = sorted(part for part in parts if part.encode(errors="surrogateescape") in data)
    if not _LOADERS.search(data):
        return {"names": names, "bares": [], "composes": False}
    whole = partial(_is_marshalled if compiled else _is_quoted, data)
    composes = (_COMPOSED_CODE if compiled else _COMPOSED).search(data) is not None
    return {"names": names, "bares": sorted(bare for bare in bares if whole(bare.encode(errors="surrogateescape"))), "composes": composes}


def _is_quoted(data: bytes, text: bytes) -> bool:
    return any(quote + text + quote in data for quote in (b"'", b'"'))


def _is_marshalled(data: bytes, text: bytes) -> bool:
    lengths = [struct.pack("<I", len(text))] + ([bytes([len(text)])] if len(text) < 256 else [])
    return any(re.search(_CODE + re.escape(length + text), data) for length in lengths)
