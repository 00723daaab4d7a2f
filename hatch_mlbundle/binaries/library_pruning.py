"""Take GPU code out of a shared library: the entries that no target can use, then the pages that are left empty.

`fatbin_pruning` says which bytes change, `elf_compact` takes out what is zero then, and `check_kept_code` proves that all that was to
be kept is there as it was, in the containers that it was in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.errors import BinaryError, UnsoundResultError

from .edits import EditedReader
from .elf import Elf, read_elf
from .elf_compact import CompactionPlan, plan_compaction
from .elf_layout import write_outline
from .fatbin import Container
from .fatbin_pruning import Pruning, choose, prune
from .fatbin_sections import elf_containers
from .gpu_coverage import Span, lost, united
from .gpu_targets import Ptx, Target, is_cubin, is_ptx, is_usable
from .reader import Reader

_Chosen: TypeAlias = tuple[Container, frozenset[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The GPUs that code is kept for, and which PTX is."""

    targets: tuple[Target, ...]
    ptx: Ptx


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryPruning:
    """What becomes of a library.

    `served` are the targets for which it has code that runs or is compiled there, `left` those for which some stays, `lost` the GPUs that
    lose code of one container at least, and `compaction` is None where no page becomes empty.
    """

    pruning: Pruning
    served: frozenset[Target]
    left: frozenset[Target]
    lost: tuple[Span, ...]
    compaction: CompactionPlan | None


def plan_pruning(reader: Reader, elf: Elf, wanted: Wanted) -> LibraryPruning | None:
    """Return what pruning does to a library, None where it has no GPU code of its own; raises BinaryError where that cannot be believed.

    What is pinned, as the CUDA runtime's own kernels are, tells nothing of what the library serves. Whether it can be compacted at all,
    `why_not_compact` says.
    """
    containers = elf_containers(reader, elf)
    if not any(each.entries and not each.is_pinned for each in containers):
        return None
    pruning = prune(containers, wanted.targets, wanted.ptx)
    dead = EditedReader(reader, pruning.edits).zeroed
    whole = [(container, frozenset(range(len(container.entries)))) for container in containers]
    return LibraryPruning(
        pruning=pruning,
        served=frozenset(target for target in wanted.targets if serves(whole, target)),
        left=frozenset(target for target in wanted.targets if serves(pruning.chosen, target)),
        lost=_lost(pruning.chosen),
        compaction=plan_compaction(reader, elf, dead) if dead else None,
    )


def write_pruned(source: Path, target: Path, planned: LibraryPruning) -> None:
    """Write the library without what goes, with the original's permissions; raises StorageError, BinaryError.

    `target` must not exist. Nothing is written where no page becomes empty.
    """
    if planned.compaction:
        write_outline(source, target, planned.compaction.outline, planned.pruning.edits)


def check_kept_code(original: Path, result: Path, wanted: Wanted) -> None:
    """Compare what each container of the result holds with what is to be kept of the original's; raises UnsoundResultError."""
    try:
        with Reader(original) as old, Reader(result) as new:
            expected = choose(_in_order(elf_containers(old, read_elf(old))), wanted.targets, wanted.ptx)
            found = _in_order(elf_containers(new, read_elf(new)))
            for number, (before, after) in enumerate(zip_longest(expected, found)):
                if before is None or after is None or _digests(old, *before) != _digests(new, after):
                    raise UnsoundResultError(f"{result}: its fat binary {number} does not hold just the code that is to be kept")
    except BinaryError as error:
        raise UnsoundResultError(str(error)) from error


def _in_order(containers: Iterable[Container]) -> list[Container]:
    """Return containers as they lie in the file: a compacted one's sections are in another order."""
    return sorted(containers, key=lambda each: each.offset)


def _digests(reader: Reader, container: Container, kept: frozenset[int] | None = None) -> list[str]:
    numbers = range(len(container.entries)) if kept is None else sorted(kept)
    entries = [container.entries[number] for number in numbers]
    return [reader.digest(entry.offset, entry.size, "GPU code") for entry in entries]


def serves(chosen: Iterable[_Chosen], target: Target) -> bool:
    """Say whether any entry that stays may be of use on the target: one that is not understood may."""
    staying = (container.entries[number] for container, kept in chosen if not container.is_pinned for number in kept)
    return any(not entry.is_understood or ((is_cubin(entry) or is_ptx(entry)) and is_usable(entry, target)) for entry in staying)


def _lost(chosen: Iterable[_Chosen]) -> tuple[Span, ...]:
    """Return the GPUs that lose code; most containers of a library have code for the same ones."""
    cases = {tuple(_names(container, kept)) for container, kept in chosen if len(kept) < len(container.entries)}
    return united(span for case in sorted(cases) for span in lost([name for name, _ in case], [name for name, stays in case if stays]))


def _names(container: Container, kept: frozenset[int]) -> Iterator[tuple[str, bool]]:
    for number, entry in enumerate(container.entries):
        if entry.name is not None:
            yield entry.name, number in kept
