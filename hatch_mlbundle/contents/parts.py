"""From extents to parts: each byte of a file counted once, so that the parts add up to it exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter

from hatch_mlbundle.contents.inspector import OTHER, Extent, Inside
from hatch_mlbundle.errors import MlbundleError

MOST_PARTS = 50
"""Parts that a file is told by; what more there are, the smallest, are `(other)`."""
SMALL = 1000
"""Sections of less than a file's size divided by this are `(other)`."""
_LONGEST_NAME = 60


def without_overlaps(extents: Iterable[Extent], size: int) -> Iterator[Extent]:
    """Yield the extents in order, cut so that each byte is in one: the first that has it, of two the longer one.

    Raises MlbundleError where one lies outside the file of `size` bytes.
    """
    at = 0
    for start, end, name in sorted(extents, key=lambda each: (each.start, -each.end, each.name)):
        if not 0 <= start <= end <= size:
            raise MlbundleError(f"part {name[:_LONGEST_NAME]!a} (bytes {start} to {end}) lies outside the file of {size} bytes")
        if end > max(start, at):
            yield Extent(max(start, at), end, name)
            at = end


def measured(extents: Iterable[Extent], size: int) -> Counter[str]:
    """Return the bytes of each part; raises MlbundleError as `without_overlaps` does."""
    parts: Counter[str] = Counter()
    for start, end, name in without_overlaps(extents, size):
        parts[name] += end - start
    return parts


def completed(parts: Mapping[str, int], size: int, rest: str) -> Counter[str]:
    """Return the parts with what is left of the file's `size` under the name `rest`."""
    whole = Counter(parts)
    whole[rest] += size - sum(parts.values())
    return whole


def condensed(parts: Mapping[str, int], least: int = 1) -> dict[str, int]:
    """Return the parts, the largest first: what is smaller than `least` bytes, unfit to print or one too many goes into `(other)`.

    Names in parentheses, which are few, stay.
    """
    merged: Counter[str] = Counter()
    for name, size in by_size(parts):
        is_told = name.startswith("(") or (size >= least and len(merged) < MOST_PARTS)
        merged[name if is_told and _is_printable(name) else OTHER] += size
    return dict(by_size({name: size for name, size in merged.items() if size}))


def name_in_file(name: str) -> str:
    """Return a name that a file gives a part of itself; `(other)` where no report could print it, or where it is like ours."""
    return name if _is_printable(name) and not name.startswith("(") else OTHER


def parts_of(inside: Inside, size: int) -> dict[str, int] | None:
    """Return the parts of a file of `size` bytes, None where they cannot be so."""
    try:
        parts = measured(inside.extents, size)
    except MlbundleError:
        return None
    if inside.view == "gpu":
        return condensed(parts)
    return condensed(completed(parts, size, inside.rest), -(-size // SMALL) if inside.view == "sections" else 1)


def coalesced(extents: Iterable[Extent]) -> list[Extent]:
    """Return the extents in order, those of one name that touch made one."""
    joined: list[Extent] = []
    for each in sorted(extents, key=attrgetter("start", "end", "name")):
        last = joined[-1] if joined else None
        if last and last.name == each.name and last.end == each.start:
            joined[-1] = last._replace(end=each.end)
        else:
            joined.append(each)
    return joined


def by_size(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the parts, the largest first, of equal ones by name."""
    return sorted(parts.items(), key=lambda part: (-part[1], part[0]))


def _is_printable(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isascii() and name.isprintable()
