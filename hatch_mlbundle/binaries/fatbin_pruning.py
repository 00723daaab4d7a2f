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
from .fatbin import Container, Entry
from .gpu_targets import Ptx, Target, kept_entries, needs_ptx

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

    `bereft` counts, for each target, the containers in which it could only have compiled PTX, of which `ptx="none"` leaves it none.
    """

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
    for container in containers:
        numbers = kept_entries(container, targets, ptx) if _is_plain(container) else frozenset(range(len(container.entries)))
        edits += _edits(container, numbers)
        for number, entry in enumerate(container.entries):
            (kept if number in numbers else dropped).append(entry)
        needed = {target: needs_ptx(container, target) for target in targets}
        bereft.update(target for target, ptx_entries in needed.items() if ptx_entries and numbers.isdisjoint(ptx_entries))
    return Pruning(edits=tuple(edits), kept=_shares(kept), dropped=_shares(dropped), bereft=dict(sorted(bereft.items())))


def _is_plain(container: Container) -> bool:
    """Say whether it holds one program, for each architecture once, as compilers write it; others are left as they are."""
    kinds = Counter((entry.kind, entry.architecture, entry.is_specific, entry.is_family, entry.is_lto) for entry in container.entries)
    is_aligned = not any(number % _ALIGNMENT for number in (container.header, *(entry.size for entry in container.entries)))
    return is_aligned and all(count == 1 for count in kinds.values())


def _edits(container: Container, kept: frozenset[int]) -> Iterator[Edit]:
    if len(kept) == len(container.entries):
        return
    begin = at = container.offset + container.header
    for source, size in _runs([container.entries[number] for number in sorted(kept)]):
        if source != at:
            yield Move(at, source, size)
        at += size
    yield Literal(container.offset + _SIZE_AT, _SIZE.pack(at - begin))
    yield Zero(at, container.end - at)


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
