from __future__ import annotations

import shutil
from dataclasses import astuple
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target
from hatch_mlbundle.binaries.library_pruning import LibraryPruning, Wanted, check_kept_code, plan_pruning, write_pruned
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import UnsoundResultError
from tests.elfsmith import Code, Part, build_elf, fatbin
from tests.fatbinsmith import fatbin_library
from tests.gpusmith import containers, gpu_library


def wanted(*targets: str, ptx: Ptx = "when-needed") -> Wanted:
    return Wanted(targets=tuple(Target.parse(each) for each in targets), ptx=ptx)


def planned(library: Path, *targets: str) -> LibraryPruning | None:
    with Reader(library) as reader:
        return plan_pruning(reader, read_elf(reader), wanted(*targets))


def pruned(library: Path, *targets: str) -> Path:
    """Return the library without what these targets do not need."""
    result = library.with_name(f"{library.name}.{'-'.join(targets)}")
    plan = planned(library, *targets)
    assert plan is not None
    write_pruned(library, result, plan)
    return result


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpu_library(tmp_path_factory.mktemp("gpu") / "lib.so")


def test_what_is_kept_is_found_as_it_was(library: Path) -> None:
    for targets in (["8.0"], ["7.0", "9.0"]):
        check_kept_code(library, pruned(library, *targets), wanted(*targets))


@pytest.mark.parametrize("found", [["9.0"], ["8.0", "9.0"], []], ids=["other", "more", "all"])
def test_other_code_than_what_was_to_be_kept_is_found_out(tmp_path: Path, library: Path, found: list[str]) -> None:
    original = Path(shutil.copy(library, tmp_path))
    result = pruned(original, *found) if found else original
    with pytest.raises(UnsoundResultError, match="fat binary 0 does not hold just the code that is to be kept"):
        check_kept_code(original, result, wanted("8.0"))


def test_a_byte_that_differs_or_a_container_that_is_missing_is_found_out(tmp_path: Path, library: Path) -> None:
    original = Path(shutil.copy(library, tmp_path))
    result = pruned(original, "8.0")
    with Reader(result) as reader:
        second = elf_containers(reader, read_elf(reader))[1]
    data = bytearray(result.read_bytes())
    data[second.entries[0].end - 1] ^= 1
    result.write_bytes(data)
    with pytest.raises(UnsoundResultError, match="fat binary 1 does not hold"):
        check_kept_code(original, result, wanted("8.0"))
    data[second.offset : second.end] = bytes(second.end - second.offset)
    result.write_bytes(data)
    with pytest.raises(UnsoundResultError, match="lib"):
        check_kept_code(original, result, wanted("8.0"))


def test_which_targets_are_served_and_which_gpus_lose_code(library: Path) -> None:
    plan = planned(library, "8.0", "8.9", "12.0")
    assert plan is not None
    assert sorted(map(str, plan.served)) == ["8.0", "8.9"]
    assert [astuple(span)[0] for span in plan.lost] == ["7.0", "9.0"]


def test_code_that_is_not_understood_may_serve_any_target(tmp_path: Path) -> None:
    strange = fatbin(Code(80, b"c" * 400, flags=0x11 | 1 << 40))
    plan = planned(fatbin_library(tmp_path / "lib.so", containers(90) + strange), "7.0")
    assert plan is not None
    assert plan.served == {Target(7, 0)}


def test_a_library_without_gpu_code_of_its_own_has_nothing_to_plan(tmp_path: Path) -> None:
    build_elf(tmp_path / "pinned.so", [Part(".nv_fatbin", containers(80, 90), flags=2)])
    assert planned(tmp_path / "pinned.so", "8.0") is None
    assert planned(fatbin_library(tmp_path / "empty.so", fatbin()), "8.0") is None
