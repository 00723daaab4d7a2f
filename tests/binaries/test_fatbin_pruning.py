from __future__ import annotations

import random
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.edits import EditedReader, Literal, Move, Zero
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin import Container
from hatch_mlbundle.binaries.fatbin_pruning import Pruning, prune
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target
from hatch_mlbundle.binaries.reader import Reader
from tests.elfsmith import Code, fatbin
from tests.fatbinsmith import fatbin_library

SPECIFIC, FAMILY = 0x100000, 0x200000
PTX, LTO = 1, 8
PTX_CHOICES: tuple[Ptx, ...] = ("when-needed", "newest", "all", "none")


def containers_of(library: Path) -> list[Container]:
    with Reader(library) as reader:
        return elf_containers(reader, read_elf(reader))


def pruned(folder: Path, data: bytes, *targets: str, ptx: Ptx = "when-needed") -> tuple[bytes, Pruning]:
    """Return what becomes of a section of fat binaries."""
    path = fatbin_library(folder / "lib.so", data)
    with Reader(path) as reader:
        elf = read_elf(reader)
        result = prune(elf_containers(reader, elf), [Target.parse(each) for each in targets], ptx)
        (section,) = (each for each in elf.sections if each.name == ".nv_fatbin")
        after = EditedReader(reader, result.edits).read(section.offset, section.size, "section")
    assert len(after) == len(data)
    return after, result


def emptied(*data: bytes) -> bytes:
    """Return containers, each of which takes as much room as another one did."""
    return b"".join(new + bytes(len(old) - len(new)) for new, old in zip(data[::2], data[1::2], strict=True))


def test_kept_code_moves_to_the_front_as_if_it_had_been_alone(tmp_path: Path) -> None:
    first, second, third = Code(70, b"a" * 100), Code(80, b"b" * 200), Code(90, b"c" * 300)
    whole = fatbin(first, second, third)
    after, result = pruned(tmp_path, whole * 2, "8.0")
    assert after == emptied(fatbin(second), whole) * 2
    assert {name: (share.entries, share.size) for name, share in result.kept.items()} == {"sm_80": (2, 2 * 264)}
    assert {name: share.entries for name, share in result.dropped.items()} == {"sm_70": 2, "sm_90": 2}
    assert result.dropped_size == 2 * (104 + 304 + 2 * 64)
    assert pruned(tmp_path, after, "8.0")[1].edits == ()


def test_entries_keep_their_order_and_neighbours_move_together(tmp_path: Path) -> None:
    codes = [Code(arch, bytes([arch]) * 80, kind=kind) for kind in (2, PTX) for arch in (70, 80, 86, 90)]
    after, result = pruned(tmp_path, fatbin(*codes), "8.0", "8.6", "9.0", ptx="all")
    assert after == emptied(fatbin(*codes[1:]), fatbin(*codes))
    assert [type(edit) for edit in result.edits] == [Move, Literal, Zero]


def test_what_is_the_first_anyway_does_not_move(tmp_path: Path) -> None:
    codes = [Code(arch, b"x" * 80) for arch in (80, 86, 90)]
    after, result = pruned(tmp_path, fatbin(*codes), "8.0")
    assert after == emptied(fatbin(codes[0]), fatbin(*codes))
    assert [type(edit) for edit in result.edits] == [Literal, Zero]


@pytest.mark.parametrize("ptx", PTX_CHOICES)
def test_a_container_of_nothing_useful_becomes_an_empty_one(tmp_path: Path, ptx: Ptx) -> None:
    data = fatbin(Code(90, b"x" * 5000)) + fatbin(Code(80, b"y" * 8))
    after, _ = pruned(tmp_path, data, "8.0", ptx=ptx)
    assert after == fatbin() + bytes(5000 + 64) + fatbin(Code(80, b"y" * 8))


def test_where_all_is_kept_nothing_is_edited(tmp_path: Path) -> None:
    data = fatbin(Code(80, b"x" * 8), Code(90, b"y" * 8)) + fatbin() + bytes(40)
    assert pruned(tmp_path, data, "9.0", "8.0")[1].edits == ()


def test_targets_together_keep_what_each_of_them_does(tmp_path: Path) -> None:
    numbers = random.Random(3)
    capabilities = list(map(Target.parse, ["7.5", "8.0", "8.7", "8.9", "9.0", "10.3", "11.0", "12.1"]))
    every = [(arch, kind, 0) for arch in (70, 75, 80, 86, 87, 89, 90, 100, 101, 120) for kind in (2, PTX, LTO)]
    every += [(arch, 2, flag) for arch in (90, 100, 103, 120) for flag in (SPECIFIC, FAMILY)]
    chosen = [numbers.sample(every, 8) for _ in range(60)]
    data = b"".join(fatbin(*(Code(arch, b"x" * 8, kind=kind, flags=0x11 | flag) for arch, kind, flag in each)) for each in chosen)
    containers = containers_of(fatbin_library(tmp_path / "lib.so", data))
    for container in containers:
        targets, ptx = numbers.sample(capabilities, 3), numbers.choice(PTX_CHOICES)
        together = set(prune([container], targets, ptx).kept)
        assert together == {name for each in targets for name in prune([container], [each], ptx).kept}
    assert len(containers) == len(chosen)


def test_containers_that_no_compiler_writes_stay_whole(tmp_path: Path) -> None:
    unaligned = fatbin(Code(70, b"x" * 12, size=12), Code(80, b"y" * 12, size=12), size=2 * (64 + 12))[: 16 + 64 + 12]
    unaligned += fatbin(Code(80, b"y" * 12, size=12))[16 : 16 + 64 + 12]
    twice = fatbin(Code(80, b"x" * 8), Code(80, b"y" * 8), Code(90, b"z" * 8))
    unknown = fatbin(Code(0, b"x" * 8, kind=256), Code(80, b"x" * 8), Code(90, b"y" * 8))
    after, result = pruned(tmp_path, twice + unknown + unaligned, "8.0")
    assert after[: len(twice)] == twice
    assert after[len(twice) + len(unknown) :] == unaligned
    assert {name: share.entries for name, share in result.kept.items()} == {"(other)": 1, "sm_70": 1, "sm_80": 4, "sm_90": 1}
    assert {name: share.entries for name, share in result.dropped.items()} == {"sm_90": 1}


def test_containers_that_are_left_without_ptx_are_counted(tmp_path: Path) -> None:
    needed = fatbin(Code(90, b"x" * 8), Code(70, b"y" * 8, kind=PTX))
    served = fatbin(Code(80, b"x" * 8), Code(70, b"y" * 8, kind=PTX))
    never = fatbin(Code(90, b"x" * 8), Code(90, b"y" * 8, kind=PTX))
    found = containers_of(fatbin_library(tmp_path / "lib.so", needed + served + never * 2))
    one, two, three = (Target.parse(each) for each in ("8.0", "9.0", "12.0"))
    assert prune(found, [one, two, three], "none").bereft == {one: 1, two: 1, three: 4}
    assert prune(found, [one, two, three], "when-needed").bereft == {}
