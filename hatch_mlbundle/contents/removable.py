"""What an ELF file could lose, by its headers alone: to the byte what the steps `strip` and `gpu_code` make of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace

from hatch_mlbundle.binaries.elf import Elf, read_layout
from hatch_mlbundle.binaries.elf_compact import plan_compaction, why_not_compact
from hatch_mlbundle.binaries.elf_strip import droppable, is_worth_it, plan_strip, why_not
from hatch_mlbundle.binaries.fatbin import Container, Signature
from hatch_mlbundle.binaries.fatbin_pruning import is_prunable, zeroed
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.gpu_licences import LICENCES, licence_of
from hatch_mlbundle.binaries.gpu_targets import Target, kept_entries
from hatch_mlbundle.binaries.library_pruning import Wanted, serves
from hatch_mlbundle.binaries.ranges import Range
from hatch_mlbundle.binaries.reader import RangeReader
from hatch_mlbundle.binaries.upx_tool import is_packed
from hatch_mlbundle.errors import BinaryError, without_path
from hatch_mlbundle.manifest import ContentsRow
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.optimizer import Json
from hatch_mlbundle.removable import GpuCodeRow, KeepingRow, RemovableRow, StripRow, capability_of

_KNOWN = "5.0 5.2 5.3 6.0 6.1 6.2 7.0 7.2 7.5 8.0 8.6 8.7 8.8 8.9 9.0 10.0 10.1 10.3 11.0 12.0 12.1"
CAPABILITIES = tuple(Target.parse(text) for text in _KNOWN.split())
"""Compute capabilities of the GPUs that CUDA 12 and 13 know (CUDA C++ Programming Guide, "Compute Capabilities"): each is tried in every
library, as it is not known yet, while one is read, what the others have code for.
"""
MOST_SORTS = 1 << 10
"""Fat binaries with different code that choices are tried for; the largest real libraries have some 40."""
EACH = Wanted(targets=(), ptx="when-needed")
"""That nobody said which GPUs code is wanted for: each compute capability is tried by itself."""


def removable(reader: RangeReader, path: str, wanted: Wanted) -> RemovableRow | None:
    """Return what the file could lose, under the name `path`, None where that is nothing; raises BinaryError."""
    if is_packed(reader):
        return None
    elf = read_layout(reader)
    strip = _strip(elf)
    gpu = _gpu_code(reader, elf, path, wanted, strip.saves if strip else 0)
    return RemovableRow(path=path, strip=strip, gpu=gpu) if strip or gpu else None


def told(rows: Iterable[RemovableRow], bundle: Bundle, contents: Iterable[ContentsRow], wanted: Wanted) -> tuple[RemovableRow, ...]:
    """Return the rows of a bundle made of `contents` as they are told.

    Where each compute capability was tried, those stay that there is code for. A package in which nothing would be left of any use to the
    targets keeps its code, as `gpu_code` leaves it.
    """
    rows = list(rows)
    served: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in rows:
        served[bundle[row.path].owner].update(each.targets for each in (row.gpu.keeping if row.gpu else ()) if each.serves)
    capabilities = None if wanted.targets else _found(contents)
    return tuple(filter(None, (_told(row, capabilities, served[bundle[row.path].owner]) for row in rows)))


def identity_of(wanted: Wanted) -> Json:
    """Return what decides what is told, beside the files' bytes and names."""
    targets = [str(each) for each in wanted.targets or CAPABILITIES]
    return [bool(wanted.targets), targets, wanted.ptx, [asdict(each) for each in LICENCES]]


def figures_of(row: RemovableRow) -> int:
    """Return about how many figures are in a row, for bounds on what is held in memory."""
    return 4 + (5 * len(row.gpu.keeping) if row.gpu else 0)


def _strip(elf: Elf) -> StripRow | None:
    if not droppable(elf):
        return None
    if refusal := why_not(elf):
        return StripRow(symbols=0, debug=0, remarks=0, saves=0, refusal=refusal)
    plan = plan_strip(elf)
    if plan is None or not is_worth_it(plan.saves, elf.size):
        return None
    return StripRow(symbols=plan.symbols, debug=plan.debug, remarks=plan.remarks, saves=plan.saves)


def _gpu_code(reader: RangeReader, elf: Elf, path: str, wanted: Wanted, strip: int) -> GpuCodeRow | None:
    """Return what taking GPU code out would save of a file of which a strip takes `strip` bytes."""
    licence = licence_of(path, elf.needed)
    name = licence.spdx if licence else ""
    try:
        containers = [each for each in elf_containers(reader, elf) if each.entries]
        refusal = why_not_compact(reader, elf) if containers else None
        rows = tuple(_keeping_rows(reader, elf, containers, wanted, strip))
    except BinaryError as error:
        return GpuCodeRow(licence=name, keeping=(), refusal=without_path(error, reader.path))
    return GpuCodeRow(licence=name, keeping=rows, refusal=refusal or "") if containers else None


def _keeping_rows(reader: RangeReader, elf: Elf, containers: Sequence[Container], wanted: Wanted, strip: int) -> Iterator[KeepingRow]:
    """Yield a row for each choice. Many choices keep the same, and are planned once."""
    alike: defaultdict[Signature, list[Container]] = defaultdict(list)
    whole: dict[Signature, Container] = {}
    for container in containers:
        if is_prunable(container):
            alike[container.signature].append(container)
        else:
            whole[container.signature] = container
    if len(alike) > MOST_SORTS:
        raise BinaryError(f"{reader.path}: has {len(alike):,} sorts of fat binaries, more than any real file")
    planned: dict[tuple[frozenset[int], ...], tuple[int, int, int]] = {}
    for targets in [wanted.targets] if wanted.targets else [(each,) for each in CAPABILITIES]:
        kept = tuple(kept_entries(group[0], targets, wanted.ptx) for group in alike.values())
        if kept not in planned:
            planned[kept] = _planned(reader, elf, alike.values(), kept, strip)
        chosen = [(group[0], numbers) for group, numbers in zip(alike.values(), kept, strict=True)]
        chosen += [(container, frozenset(range(len(container.entries)))) for container in whole.values()]
        drops, saves, with_strip = planned[kept]
        yield KeepingRow(
            targets=tuple(map(str, targets)),
            serves=any(serves(chosen, target) for target in targets),
            drops=drops,
            saves=saves,
            with_strip=with_strip,
        )


def _planned(
    reader: RangeReader, elf: Elf, groups: Iterable[Sequence[Container]], kept: Iterable[frozenset[int]], strip: int
) -> tuple[int, int, int]:
    """Return the bytes of the entries that go, how much smaller that makes the file, and how much where it is stripped, too."""
    dead: list[Range] = [
        zeroed(container, numbers)
        for group, numbers in zip(groups, kept, strict=True)
        for container in group
        if len(numbers) < len(container.entries)
    ]
    dead.sort()
    drops = sum(end - start for start, end in dead)
    alone = plan_compaction(reader, elf, dead) if dead else None
    if alone is None or not is_worth_it(alone.saves, elf.size):
        return drops, 0, strip
    both = plan_compaction(reader, elf, dead, "all") if strip else alone
    return drops, alone.saves, both.saves if both else strip


def _found(contents: Iterable[ContentsRow]) -> set[str]:
    """Return the compute capabilities that there is code for."""
    names = {name for row in contents if row.view == "gpu" for name in row.parts}
    return set(filter(None, map(capability_of, names)))


def _told(row: RemovableRow, capabilities: set[str] | None, served: set[tuple[str, ...]]) -> RemovableRow | None:
    """Return a row with the choices of these compute capabilities alone, all where there are none; None where nothing is left to tell."""
    if row.gpu is None:
        return row
    strip = row.strip.saves if row.strip else 0
    keeping = tuple(
        each if each.targets in served else replace(each, saves=0, with_strip=strip)
        for each in row.gpu.keeping
        if capabilities is None or capabilities.issuperset(each.targets)
    )
    is_told = any(each.drops for each in keeping) or not row.gpu.keeping
    gpu = replace(row.gpu, keeping=keeping) if is_told else None
    return replace(row, gpu=gpu) if row.strip or gpu else None
