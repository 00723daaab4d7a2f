"""Sizes as people write and read them: decimal by default (MB = 10^6 bytes), binary with an i (MiB = 2^20)."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "kB": 10**3,
    "B": 1,
}
"""From large to small."""
LARGEST = 2**63 - 1
"""Bytes of the largest file that any system knows."""
_LOWER = {"": 1, **{unit.lower(): size for unit, size in _UNITS.items()}}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return the number of bytes in `"250 MB"`, `"2 GiB"`, `"4096"`; raises ValueError for anything else, and above LARGEST."""
    match = _SIZE.fullmatch(text)
    unit = _LOWER.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a size; write it like '250 MB' or '2 GiB'")
    size = round(Decimal(match[1]) * unit)
    if size > LARGEST:
        raise ValueError(f"{text[:40]!r} is more than any file has")
    return size


def write_size(size: int) -> str:
    """Return the shortest whole number of a unit that `parse_size` reads as these very bytes: `'250 MB'`, `'2 GiB'`, `'1001 B'`."""
    unit = next(unit for unit, one in _UNITS.items() if size % one == 0) if size else "B"
    return f"{size // _UNITS[unit]} {unit}"


def format_size(size: int) -> str:
    """Return bytes as a person reads them, decimal, with three significant digits: `'980 B'`, `'12.3 MB'`, `'-1.20 GB'`."""
    number, unit = float(abs(size)), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    digits = 0 if unit == "B" or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{'-' if size < 0 else ''}{number:.{digits}f} {unit}"


def format_percent(part: int, whole: int) -> str:
    """Return `part` of `whole` in percent with one digit, `'0.0 %'` of nothing."""
    percent = round(100 * part / whole, 1) if whole else 0.0
    return f"{percent or 0.0:.1f} %"  # `or`: -0.0 is a number that nobody reads


def format_growth(size: int) -> str:
    """Return what came to a size, with its sign: `'+12.3 MB'`, `'-980 B'`, `'0 B'`."""
    return f"{'+' if size > 0 else ''}{format_size(size)}"


def format_growth_percent(size: int, before: int) -> str:
    """Return what came to a size in percent of what it was, with its sign: `'+2.1 %'`; `'x12'` of what is ten times as large or more;
    `'new'` of nothing.
    """
    if size and not before:
        return "new"
    if size >= 9 * before > 0:
        return f"x{(size + before) / before:.0f}"
    return f"{'+' if size > 0 else ''}{format_percent(size, before)}"
