"""Libraries that were copied into a wheel by the tools that repair wheels: auditwheel, delocate, delvewheel."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from posixpath import basename

_PLACE = re.compile(r"(?:.*/)?(?:[^/]+\.libs|\.dylibs)/[^/]+")
_LIBRARY = re.compile(r"(?P<stem>.+?)(?:-(?:[0-9a-f]{8}|[0-9a-f]{32}))?(?P<rest>(?:\.so(?:\.[\w.]+)?)|\.[\w.]*dylib|\.dll)", re.IGNORECASE)
_FOLDERS = (
    *("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib", "/usr/local/lib64"),
    *(f"{top}/{machine}-linux-gnu" for top in ("/lib", "/usr/lib") for machine in ("x86_64", "aarch64", "i386")),
    *("/lib/arm-linux-gnueabihf", "/usr/lib/arm-linux-gnueabihf", "/usr/lib/powerpc64le-linux-gnu", "/usr/lib/s390x-linux-gnu"),
)
"""Where packages of a system have their libraries: RPM's and Alpine's, then Debian's."""


def is_grafted(path: str) -> bool:
    """Say whether a file is a library that was copied into a wheel: in `NAME.libs` (Linux, Windows) or `.dylibs` (macOS)."""
    return bool(_PLACE.fullmatch(path) and _LIBRARY.fullmatch(basename(path)))


def original_name(path: str) -> str:
    """Return the name that a grafted library had before part of its hash was put in: `libgomp.so.1` of `libgomp-a34b3233.so.1.0.0`."""
    match = _LIBRARY.fullmatch(basename(path))
    return f"{match['stem']}{match['rest']}" if match else basename(path)


def auditwheel_fragments(path: str) -> Iterator[str]:
    """Yield what may stand behind the `#` in the bom-ref that auditwheel gives to a grafted library's package.

    That is the SHA-256, in hex, of the path that the library was copied from (auditwheel's sboms.py).
    """
    name = original_name(path)
    for folder in _FOLDERS:
        yield hashlib.sha256(f"{folder}/{name}".encode(errors="ignore")).hexdigest()
