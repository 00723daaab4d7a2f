"""Hostile variants of files: what a damaged download, a wrong name or an attacker puts into a bundle."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import replace

from hatch_mlbundle.model import Bundle, File
from hatch_mlbundle.testing.given import Given, bundle_from

_FOREIGN = {
    "a cut-off ELF library": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0>\0\x01\0\0\0" + b"\xff" * 40,
    "a cut-off Windows library": b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0\xff\xff\xff\xff",
    "a cut-off picture": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR",
    "a cut-off zip": b"PK\x03\x04\x14\0\0\0\x08\0" + b"\xff" * 20,
    "a cut-off gzip": b"\x1f\x8b\x08\0" + bytes(6),
    "text that is no UTF-8": b"caf\xe9 \xff\xfe\n",
    "an unpaired surrogate": b'["\\ud800", {"\\udfff": 1}]',
    "numbers that no float holds": b"[1e999, -1e999, NaN, 0.1000000000000000055511151231257827]",
    "a list nested 100,000 times": b"[" * 100_000,
}
_NAMES = (
    "with space/and 'quotes'",
    "\u00fcml\u00e4ut/\u540d\u524d",
    "[a-z]*?/!not",
    "-rf/--help",
    ".hidden/..dots",
    "d/" * 60 + "deep",
    "x" * 200,
)


def hostile_variants(data: bytes) -> dict[str, bytes]:
    """Return what may stand where a file with these bytes is expected, each under words that say what it is; the same each time."""
    middle = len(data) // 2
    noise = random.Random(len(data)).randbytes(max(64, min(len(data), 4096)))  # noqa: S311 - the same noise each time
    return {
        "nothing": b"",
        "its first byte alone": data[:1],
        "its first half": data[:middle],
        "all but its last byte": data[:-1],
        "zeros": bytes(len(data)),
        "noise": noise,
        "itself with noise behind it": data + noise,
        "a length of 2^64-1 at its start": b"\xff" * 8 + data[8:],
        "huge lengths after its first 4 bytes": data[:4] + b"\xff" * 12 + data[16:],
        "itself with a byte changed in its middle": data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :] if data else b"\0",
        **_FOREIGN,
    }


def hostile_bundles(bundle: Bundle) -> Iterator[tuple[str, Bundle]]:
    """Yield bundles that are hostile in one way each, with words that say in which."""
    yield "no file at all", Bundle()
    regular = [file for file in bundle.values() if file.link is None]
    yield "empty files alone", Bundle(with_data(file, b"") for file in regular)
    for file in regular:
        for what, data in hostile_variants(file.read()).items():
            yield f"{what} in the place of {file.path}", bundle.replacing([with_data(file, data)])
        yield f"{file.path} under a name without a suffix", _renamed(bundle, file, file.path.rpartition(".")[0] or "x")
    for folder in (*_NAMES, *(["caf\udce9"] if sys.platform == "linux" else [])):
        yield f"all of it in the folder {folder[:40]!a}", Bundle(replace(file, path=f"{folder}/{file.path}") for file in bundle.values())


def with_data(file: File, data: bytes) -> File:
    """Return the file with other bytes, and of the kind that these tell."""
    return bundle_from({file.path: Given(data=data, mode=file.mode, owner=file.owner)})[file.path]


def _renamed(bundle: Bundle, file: File, path: str) -> Bundle:
    rest = bundle.without([file.path])
    return rest if path in rest or path.endswith("/") else rest.replacing([replace(file, path=path)])
