"""Which file of one artifact is which of another: by path, by content, by what it is called in any release."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple, TypeAlias

from .manifest import FileState, Manifest
from .releases import owner_name, release_free

_MOST = 1 << 10
"""Pairs of which the nearest are looked for; of more files that could each be any other, the order of their paths decides."""

_TELLING = 256
"""Bytes of the smallest file that content alone tells, in whatever package: single lines are the same by chance."""


class Present(NamedTuple):
    """A file that is in an artifact after all steps; its owner goes by `owner_name`."""

    path: str
    kind: str
    owner: str
    state: FileState

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


Pair: TypeAlias = tuple[Present | None, Present | None]
"""A file before and after, None where it is not there; not both are."""

_Key: TypeAlias = Callable[[Present], Hashable]
"""Returns what two files that may be the same have in common, None for a file that cannot be told."""


def present(manifest: Manifest) -> list[Present]:
    """Return an artifact's files after all steps."""
    names = {owner: owner_name(owner) for owner in {row.owner for row in manifest.files}}
    return [Present(row.path, row.kind, names[row.owner], row.after) for row in manifest.files if row.after]


def pair_files(before: Sequence[Present], after: Sequence[Present]) -> list[Pair]:
    """Return every file once, with what it is on the other side. The same two sides exchanged give the same pairs exchanged.

    A file is the one of the same path; else one of the same bytes; else the one that another release has in its place. Of bytes that
    are there several times, places tell which is which, or nothing does: then a copy went, and another one came.
    """
    there = {file.path: file for file in after}
    pairs: list[Pair] = [(file, there.pop(file.path, None)) for file in before]
    left = {file.path: file for file, same in pairs if file and not same}
    pairs = [pair for pair in pairs if pair[1]]
    for key in (*_content_keys(before, after, left.values(), there.values()), _in_any_release):
        pairs += _matched(left, there, key)
    return [*pairs, *((file, None) for file in left.values()), *((None, file) for file in there.values())]


def _content_keys(
    before: Iterable[Present], after: Iterable[Present], left: Collection[Present], there: Collection[Present]
) -> Iterable[_Key]:
    """Return the ways to tell files by their bytes, the surest first."""
    moved = set(_digests(left)) & set(_digests(there))
    if not moved:
        return ()
    copies = [Counter(digest for digest in _digests(files) if digest in moved) for files in (before, after)]
    single = {digest for digest in moved if all(counter[digest] == 1 for counter in copies)}

    def with_content(place: Callable[[Present], Hashable]) -> _Key:
        return lambda file: (file.state.sha256, place(file)) if file.state.size and file.state.sha256 in moved else None

    return (
        lambda file: file.state.sha256 if file.state.size >= _TELLING and file.state.sha256 in single else None,
        with_content(lambda file: release_free(file.path)),
        with_content(lambda file: tuple(file.path.split("/")[-2:])),
        with_content(lambda file: (file.owner, file.name)),
        with_content(lambda file: file.owner),
    )


def _digests(files: Iterable[Present]) -> Iterator[str]:
    return (file.state.sha256 for file in files if file.state.size and file.state.sha256)


def _in_any_release(file: Present) -> Hashable:
    return release_free(file.path), file.kind


def _matched(before: dict[str, Present], after: dict[str, Present], key: _Key) -> Iterator[Pair]:
    """Yield the files that have a key in common, and take them out of both sides."""
    olds: defaultdict[Hashable, list[Present]] = defaultdict(list)
    news: defaultdict[Hashable, list[Present]] = defaultdict(list)
    for file in before.values():
        olds[key(file)].append(file)
    for file in after.values():
        news[key(file)].append(file)
    for common, candidates in olds.items():
        if common is None or common not in news:
            continue
        for old, new in _nearest(candidates, news[common]):
            del before[old.path], after[new.path]
            yield old, new


def _nearest(olds: list[Present], news: list[Present]) -> Iterator[tuple[Present, Present]]:
    """Yield as many pairs as there can be, the nearest paths first."""
    if len(olds) == len(news) == 1:
        yield olds[0], news[0]
    elif len(olds) * len(news) > _MOST:
        yield from zip(sorted(olds), sorted(news), strict=False)
    else:
        parts = {file.path: file.path.split("/") for file in (*olds, *news)}
        left, there = ({file.path: file for file in files} for files in (olds, news))
        for _, _, _, old, new in sorted(_distance(parts, old, new) for old, new in product(left, there)):
            if old in left and new in there:
                yield left.pop(old), there.pop(new)


def _distance(parts: Mapping[str, Sequence[str]], old: str, new: str) -> tuple[int, str, str, str, str]:
    """Return the smallest for the paths that have most parts in common at both ends; which of the two is which has no part in it."""
    shared = _shared(parts[old], parts[new]) + _shared(reversed(parts[old]), reversed(parts[new]))
    return -shared, min(old, new), max(old, new), old, new


def _shared(first: Iterable[str], second: Iterable[str]) -> int:
    """Return how many of the first parts are the same."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
