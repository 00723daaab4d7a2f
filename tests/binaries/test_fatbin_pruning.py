from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.binaries.edits import EditedReader
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin_pruning import Pruning, prune
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target
from hatch_mlbundle.binaries.reader import Reader
from tests.elfsmith import Code, fatbin
from tests.fatbinsmith import fatbin_library

LTO, SPECIFIC, FAMILY = 0x10000, 0x100000, 0x200000


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


def test_kept_code_moves_to_the_front_as_if_it_had_been_alone(tmp_path: Path) -> None:
    first, second, third = Code(70, b"a" * 100), Code(80, b"b" * 200), Code(90, b"c" * 300)
    alone = fatbin(second)
    after, result = pruned(tmp_path, fatbin(first, second, third) * 2, "8.0")
    half = len(after) // 2
    assert after == (alone + bytes(half - len(alone))) * 2
    assert {name: (share.entries, share.size) for name, share in result.kept.items()} == {"sm_80": (2, 2 * 264)}
    assert {name: share.entries for name, share in result.dropped.items()} == {"sm_70": 2, "sm_90": 2}
    assert pruned(tmp_path, after, "8.0")[1].edits == ()


@pytest.mark.parametrize("ptx", ["when-needed", "newest", "all", "none"])
def test_a_container_of_nothing_useful_becomes_an_empty_one(tmp_path: Path, ptx: Ptx) -> None:
    data = fatbin(Code(90, b"x" * 5000)) + fatbin(Code(80, b"y" * 8))
    after, _ = pruned(tmp_path, data, "8.0", ptx=ptx)
    assert after == fatbin() + bytes(5000 + 64) + fatbin(Code(80, b"y" * 8))
