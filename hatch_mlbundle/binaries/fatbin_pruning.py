"""Take entries out of fat binaries, as edits of the file that move nothing outside their container.

Kept entries go to the container's front, its size becomes theirs, and zero bytes follow: what NVIDIA's `fatbinary` writes for just these
entries. Code finds a container by its address, which stays; where nothing is kept, it is an empty one.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .edits import Edit, Literal, Move, Zero
from .fatbin import Container, Entry, Signature
from .gpu_targets import Ptx, Target, kept_entries, needs_ptx
from .ranges import Range

UNKNOWN = "(other)"
"""The name of entries of a kind that is not known."""
_ALIGNMENT = 8
"""Of containers, and of entries inside them."""
_SIZE_AT = 8
_SIZE = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Entries, and the bytes of their headers and payloads."""

    entries: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What pruning does: `kept` and `dropped` by the names that nvcc has for such code, `(other)` for unknown kinds.

    `chosen` has each container with the numbers of the entries that stay in it.

    `bereft` counts, for each target, the containers in which it could only have compiled PTX, of which `ptx="none"` leaves it none.
    """

    chosen: tuple[tuple[Container, frozenset[int]], ...]
    edits: tuple[Edit, ...]
    kept: Mapping[str, Share]
    dropped: Mapping[str, Share]
    bereft: Mapping[Target, int]

    @property
    def dropped_size(self) -> int:
        """Bytes of entries that go."""
        return sum(share.size for share in self.dropped.values())


def prune(containers: Iterable[Container], targets: Sequence[Target], ptx: Ptx = "when-needed") -> Pruning:
    """Return what leaves of all containers of a file what the targets can use; there are no edits where all is kept."""
    edits: list[Edit] = []
    kept: list[Entry] = []
    dropped: list[Entry] = []
    bereft: Counter[Target] = Counter()
    chosen = tuple(choose(containers, targets, ptx))
    for container, numbers in chosen:
        edits += _edits(container, numbers)
        for number, entry in enumerate(container.entries):
            (kept if number in numbers else dropped).append(entry)
        needed = ((target, needs_ptx(container, target)) for target in targets)
        bereft.update(target for target, entries in needed if entries and numbers.isdisjoint(entries))
    return Pruning(chosen=chosen, edits=tuple(edits), kept=_shares(kept), dropped=_shares(dropped), bereft=dict(sorted(bereft.items())))


def is_prunable(container: Container) -> bool:
    """Say whether entries may be taken out of a container.

    Not where it is pinned, has entries of odd sizes, or several alike, which are not the same program: no compiler writes those.
    """
    if container.is_pinned or any(number % _ALIGNMENT for number in (container.header, *(entry.size for entry in container.entries))):
        return False
    return len({(entry.kind, entry.architecture, entry.variant) for entry in container.entries}) == len(container.entries)


def zeroed(container: Container, kept: frozenset[int]) -> Range:
    """Return the bytes of a container that are zero where just these entries stay in it."""
    return container.offset + container.header + sum(container.entries[number].size for number in kept), container.end


def choose(containers: Iterable[Container], targets: Sequence[Target], ptx: Ptx) -> Iterator[tuple[Container, frozenset[int]]]:
    """Yield each container with the numbers of the entries that stay in it."""
    known: dict[Signature, frozenset[int]] = {}
    for container in containers:
        if not is_prunable(container):
            yield container, frozenset(range(len(container.entries)))
            continue
        signature = container.signature
        if signature not in known:
            known[signature] = kept_entries(container, targets, ptx)
        yield container, known[signature]


def _edits(container: Container, kept: frozenset[int]) -> Iterator[Edit]:
    if len(kept) == len(container.entries):
        return
    begin = at = container.offset + container.header
    for source, size in _runs([container.entries[number] for number in sorted(kept)]):
        if source != at:
            yield Move(at, source, size)
        at += size
    yield Literal(container.offset + _SIZE_AT, _SIZE.pack(at - begin))
    start, end = zeroed(container, kept)
    yield Zero(start, end - start)


def _runs(entries: Sequence[Entry]) -> Iterator[tuple[int, int]]:
    """Yield where entries begin that follow each other, and their bytes together."""
    start = end = 0
    for entry in entries:
        if entry.offset != end:
            if end > start:
                yield start, end - start
            start = entry.offset
        end = entry.end
    if end > start:
        yield start, end - start


def _shares(entries: Iterable[Entry]) -> dict[str, Share]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for entry in entries:
        name = entry.name or UNKNOWN
        counts[name] += 1
        sizes[name] += entry.size
    return {name: Share(entries=counts[name], size=sizes[name]) for name in sorted(counts)}
