"""Sizes as people write and read them: decimal by default (MB = 10^6 bytes), binary with an i (MiB = 2^20)."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return the number of bytes in `"250 MB"`, `"2 GiB"`, `"4096"`; raises ValueError for anything else."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a size; write it like '250 MB' or '2 GiB'")
    return round(Decimal(match[1]) * unit)


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
    return f"{100 * part / whole if whole else 0:.1f} %"
