"""Libraries whose headers are damaged: refused, or compacted into what a loader sees as the same; never a crash, never long."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_layout import write_outline
from hatch_mlbundle.errors import MlbundleError, UnsoundResultError
from tests.deadsmith import KIB, Compacted, compact, dead_library, dead_ranges, edited, plan_of, read
from tests.elfmemory import same_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes ELF libraries")
SIZES = (64 * KIB, 40 * KIB)
ROUNDS = 60


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> list[Compacted]:
    folder = tmp_path_factory.mktemp("fuzzed")
    made = [(".rodata", ()), (".text", ("-Wl,-z,noseparate-code",)), (".data", ())]
    return [compact(dead_library(folder / f"lib{section}.so", SIZES, *flags, section=section)) for section, flags in made]


def places(path: Path) -> list[tuple[int, int]]:
    """Return where the numbers of the headers are, with their sizes: those of the file, segments, sections and dynamic entries."""
    elf = read(path)
    found = [(at, 2) for at in (16, 18, 54, 56, 58, 60, 62)] + [(at, 8) for at in (24, 32, 40)]
    start, end = elf.segment_table
    for at in range(start, end, 56):
        found += [(at, 4), (at + 4, 4), *((at + step, 8) for step in range(8, 56, 8))] * 2
    for at in range(elf.section_table[0] + 64, elf.section_table[1], 64):
        found += [(at, 4), (at + 4, 4), *((at + step, 8) for step in (8, 16, 24, 32, 48))]
    dynamic = next(segment for segment in elf.segments if segment.type == 2)
    return found + [(at, 8) for at in range(dynamic.offset, dynamic.end, 8)]


def damaged(data: bytes, where: list[tuple[int, int]], chance: random.Random) -> bytes:
    """Return the bytes with one to three of the numbers changed: a little, by whole pages, to one from another place, or at will."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at, size = chance.choice(where)
        number = int.from_bytes(changed[at : at + size], "little")
        other_at, _ = chance.choice(where)
        number = chance.choice(
            [
                number + chance.randint(-9, 9),
                number + 4096 * chance.randint(-20, 20),
                number ^ (1 << chance.randrange(8 * size)),
                int.from_bytes(changed[other_at : other_at + size], "little"),
                chance.choice([0, 1, len(data), len(data) - 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), 4096]),
            ]
        )
        changed[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(changed)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("again", [False, True])
def test_damaged_headers(libraries: list[Compacted], tmp_path: Path, number: int, again: bool) -> None:
    base = half_compacted(libraries[number], tmp_path) if again else libraries[number].source
    outcomes = {"refused": 0, "nothing to do": 0, "done": 0}
    where, data = places(base), base.read_bytes()
    edits = dead_ranges(base)
    messages: list[str] = []
    chance = random.Random(number + 10 * again)
    started = time.monotonic()
    for _ in range(ROUNDS):
        path, target = tmp_path / "fuzzed", tmp_path / "result"
        path.write_bytes(damaged(data, where, chance))
        target.unlink(missing_ok=True)
        try:
            plan = plan_of(path, edits, "all")
            if plan is None:
                outcomes["nothing to do"] += 1
                continue
            write_outline(path, target, plan.outline, edits)
            check_same_program(path, target, edits)
        except MlbundleError as error:
            outcomes["refused"] += 1
            messages.append(str(error))
            continue
        outcomes["done"] += 1
        assert target.stat().st_size == path.stat().st_size - plan.saves
        if loadable(path):
            assert same_memory(path, edited(path, edits), target)
    assert time.monotonic() - started < 60
    assert not [message for message in messages if "\n" in message]
    assert outcomes["done"] > ROUNDS // 20
    assert outcomes["refused"] > ROUNDS // 20


def half_compacted(library: Compacted, folder: Path) -> Path:
    """Return the library without its first dead range."""
    plan = plan_of(library.source, library.edits[:1])
    assert plan is not None
    write_outline(library.source, folder / "half", plan.outline, library.edits[:1])
    return folder / "half"


def loadable(path: Path) -> bool:
    try:
        return same_memory(path, path.read_bytes(), path)
    except ValueError:
        return False


def test_a_damaged_result_never_passes_as_the_same(libraries: list[Compacted], tmp_path: Path) -> None:
    chance = random.Random(7)
    for library in libraries:
        where, data = places(library.path), library.path.read_bytes()
        truth = edited(library.source, library.edits)
        for _ in range(ROUNDS):
            path = tmp_path / "fuzzed"
            path.write_bytes(damaged(data, where, chance))
            try:
                check_same_program(library.source, path, library.edits)
            except UnsoundResultError:
                continue
            assert same_memory(library.source, truth, path)
