from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.elf_compact import is_compacted
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import ConfigurationError, KeptError, UnsoundResultError
from hatch_mlbundle.model import Change, Keep, Rewrite
from hatch_mlbundle.optimizer import Task
from hatch_mlbundle.optimizers.cpu_code import CpuCode, CpuCodeOptions
from hatch_mlbundle.optimizers.strip import Strip
from hatch_mlbundle.testing import folder_from, optimize, run
from tests.elfsmith import compile_elf
from tests.fakes import FakeContext, bundle_of
from tests.torchsmith import NAME, build_reader, build_torch, results

PATH = f"torch/lib/{NAME}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_torch(tmp_path_factory.mktemp("built") / "lib", "-g")


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    (tmp_path / "bundle" / "torch" / "lib").mkdir(parents=True)
    shutil.copy2(built, tmp_path / "bundle" / PATH)
    return tmp_path / "bundle"


def plan(root: Path, **options: object) -> tuple[list[Change], FakeContext, CpuCode]:
    step, context = CpuCode(CpuCodeOptions(**options)), FakeContext(root)  # type: ignore[arg-type]
    return list(step.plan(bundle_of(root), context)), context, step


def task_of(root: Path, context: FakeContext) -> Task:
    return context.task(bundle_of(root)[PATH], root.parent / "companions")


@pytest.mark.parametrize(
    ("level", "kernels", "none"), [("x86-64-v3", 2, {"default": [-1, -1, 4]}), ("x86-64-v4", 3, {"avx2": [-1, 55, -1]})]
)
def test_kernels_go_and_all_else_is_as_it_was(root: Path, level: str, kernels: int, none: dict[str, list[int]]) -> None:
    (change,), context, step = plan(root, level=level)
    assert isinstance(change, Rewrite)
    assert change.reason.startswith(f"{kernels} kernels that no CPU of {level} runs, ")
    task = task_of(root, context)
    assert step.rewrite(task, context) == {"level": level, "kernels": kernels}
    step.check(task, context)
    assert task.target.stat().st_size == task.source.stat().st_size - (change.saves or 0)
    for capability in ("default", "avx2", "avx512"):
        before = results(task.source, capability)
        expected = [*none[capability], before[3]] if capability in none else before
        if (level, capability) != ("x86-64-v4", "default"):
            assert results(task.target, capability) == expected
    assert context.codes == []


def test_a_result_does_not_depend_on_the_plan(root: Path) -> None:
    (_,), context, step = plan(root)
    task = task_of(root, context)
    step.rewrite(task, context)
    first = task.target.read_bytes()
    task.target.unlink()
    CpuCode(CpuCodeOptions()).rewrite(task, context)
    assert task.target.read_bytes() == first


def test_a_result_that_differs_is_seen(root: Path) -> None:
    (_,), context, step = plan(root)
    task = task_of(root, context)
    step.rewrite(task, context)
    data = bytearray(task.target.read_bytes())
    at = data.index(b"missing kernel for cpu")
    data[at : at + 7] = b"found a"
    task.target.write_bytes(data)
    with pytest.raises(UnsoundResultError):
        step.check(task, context)


def test_again_and_with_strip_before_or_behind(built: Path, tmp_path: Path) -> None:
    folder = folder_from(tmp_path / "folder", {PATH: built.read_bytes()})
    optimize(CpuCode, folder, cache=tmp_path / "cache")
    compacted = (folder / PATH).read_bytes()
    assert (run(CpuCode, folder).changed, run(CpuCode, folder).codes) == ({}, [])
    optimize(Strip, folder)
    assert (run(CpuCode, folder).changed, run(CpuCode, folder).codes) == ({}, [])
    assert results(folder / PATH, "avx512") == results(built, "avx512")
    with Reader(folder / PATH) as reader:
        assert is_compacted(read_elf(reader))
    assert len((folder / PATH).read_bytes()) < len(compacted)
    optimize(Strip, folder_from(tmp_path / "stripped", {PATH: built.read_bytes()}))
    assert run(CpuCode, tmp_path / "stripped").codes == ["MB451"]


def test_a_higher_level_after_a_lower_one(built: Path, tmp_path: Path) -> None:
    folder = folder_from(tmp_path / "folder", {PATH: built.read_bytes()})
    optimize(CpuCode, folder)
    done = run(CpuCode, folder, {"level": "x86-64-v4"})
    assert (done.changed, done.codes) == ({}, ["MB451"])


@pytest.mark.parametrize(
    ("names", "is_odd"),
    [
        (("7DEFAULTE",), True),
        (("7DEFAULTE", "6AVX512E", "4AVX2E"), True),
        (("7DEFAULTE", "12get_call_ptrEPvS2_S2_"), True),
        (("7DEFAULTE", "6AVX512E", "4AVX2E", "12get_call_ptrEPvS2_S2_"), False),
    ],
)
def test_libraries_that_take_pointers_from_it(built: Path, root: Path, names: Sequence[str], is_odd: bool) -> None:
    build_reader(root / "reader.so", built, *names)
    (change,), _, _ = plan(root)
    assert isinstance(change, Keep) == is_odd
    if is_odd:
        assert change.reason == "'reader.so' gets at its kernels in another way than PyTorch's DispatchStub.h does"


def damaged(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("change", [damaged, lambda data: data[:64], lambda data: data.replace(b"\0.symtab", b"\0.xxxxxx")])
def test_damaged_libraries_stay(built: Path, change: Callable[[bytes], bytes]) -> None:
    done = run(CpuCode, {PATH: change(built.read_bytes())})
    assert set(done.codes) <= {"MB451"}
    assert done.misdeeds == ()


def test_libraries_without_kernels_and_other_names_are_left_alone(built: Path, tmp_path: Path) -> None:
    other = compile_elf(tmp_path / "libx.so").read_bytes()
    done = run(CpuCode, {PATH: other, "torch/lib/libother.so": built.read_bytes(), f"text/{NAME}": "no library"})
    assert (done.changed, done.kept, done.codes) == ({}, {}, [])


def test_a_library_for_other_cpus_stays(root: Path) -> None:
    data = bytearray((root / PATH).read_bytes())
    data[18:20] = (183).to_bytes(2, "little")
    (root / PATH).write_bytes(data)
    assert plan(root)[0] == [Keep(path=PATH, reason="it is for other CPUs than x86-64")]


def test_a_library_that_chooses_otherwise_stays(tmp_path: Path) -> None:
    build_torch(tmp_path / "bundle" / "torch" / "lib", "-DFALLS_BACK")
    (tmp_path / "bundle" / "torch" / "lib.cpp").unlink()
    (_,), context, step = plan(tmp_path / "bundle")
    with pytest.raises(KeptError, match="it does not choose among kernels as the releases of PyTorch do"):
        step.rewrite(task_of(tmp_path / "bundle", context), context)


def test_there_are_two_levels() -> None:
    with pytest.raises(ConfigurationError, match="level"):
        run(CpuCode, {PATH: ""}, {"level": "x86-64-v2"})


def test_what_decodes_is_part_of_the_key() -> None:
    assert list(CpuCode(CpuCodeOptions()).programs()) == ["iced-x86"]
    assert json.dumps(dict(CpuCode(CpuCodeOptions()).programs())).count(".") >= 1
