from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin import Container
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import ConfigurationError, UnsoundResultError
from hatch_mlbundle.model import Change, Keep, Rewrite
from hatch_mlbundle.optimizer import Detail, Task
from hatch_mlbundle.optimizers.gpu_code import GpuCode, GpuCodeOptions
from tests.elfsmith import Code, Part, build_elf, compile_elf, fatbin, need
from tests.fakes import FakeContext, bundle_of
from tests.fatbinsmith import fatbin_library
from tests.gpusmith import ARCHITECTURES, PAYLOAD, containers, gpu_library, payload

MINGW = "x86_64-w64-mingw32-gcc"
NCCL = "nvidia/nccl/lib/libnccl.so.2"
CUBLAS = "nvidia/cublas/lib/libcublas.so.12"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library with code for five architectures, in two containers."""
    return gpu_library(tmp_path_factory.mktemp("gpu") / "lib.so")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def put(root: Path, library: Path, *paths: str) -> None:
    for each in paths:
        (root / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / each)


def plan(root: Path, *targets: str, excluded: tuple[str, ...] = (), **options: object) -> tuple[list[Change], FakeContext, GpuCode]:
    gpu_code, context = GpuCode(GpuCodeOptions(targets=targets or ("8.0",), **options)), FakeContext(root)  # type: ignore[arg-type]
    context.excluded = frozenset(excluded)
    return list(gpu_code.plan(bundle_of(root), context)), context, gpu_code


def carry_out(root: Path, change: Change, context: FakeContext, gpu_code: GpuCode) -> tuple[Task, Detail]:
    task = context.task(bundle_of(root)[change.path], root.parent / "companions")
    return task, gpu_code.rewrite(task, context)


def code_in(path: Path) -> list[Container]:
    with Reader(path) as reader:
        return elf_containers(reader, read_elf(reader))


def names(path: Path) -> list[list[str | None]]:
    return [[entry.name for entry in each.entries] for each in code_in(path)]


def test_what_no_target_can_use_goes_and_what_it_saves_is_planned_exactly(root: Path, library: Path) -> None:
    put(root, library, NCCL)
    (change,), context, gpu_code = plan(root)
    assert isinstance(change, Rewrite)
    assert change.reason == "GPU code 321 kB (sm_70, sm_75, sm_86, sm_90)"
    assert change.key == "8.0 ptx=when-needed"
    task, detail = carry_out(root, change, context, gpu_code)
    gpu_code.check(task, context)
    assert task.source.stat().st_size - task.target.stat().st_size == change.saves
    assert (change.saves or 0) > 6 * PAYLOAD
    assert names(task.target) == [["sm_80"]] * 2
    assert detail["targets"] == ["8.0"]
    assert detail["kept"] == {"sm_80": 2 * (PAYLOAD + 64)}
    assert list(detail["dropped"]) == ["sm_70", "sm_75", "sm_86", "sm_90"]
    assert detail["lost"][0] == {"first": "7.0", "below": "8.0"}
    assert context.codes == []


def test_the_result_loads_and_reads_as_zero_where_code_was(root: Path, library: Path) -> None:
    put(root, library, NCCL)
    (change,), context, gpu_code = plan(root)
    task, _ = carry_out(root, change, context, gpu_code)
    before, after = (ctypes.CDLL(str(path)) for path in (task.source, task.target))
    assert after.answer(b"abc") == before.answer(b"abc") == 21
    assert before.nonzero() >= len(ARCHITECTURES) * 2 * PAYLOAD
    assert 2 * PAYLOAD <= after.nonzero() < 2 * PAYLOAD + 1000


def test_several_targets_and_code_that_serves_a_later_one(root: Path) -> None:
    put(root, gpu_library(root.parent / "lib.so", containers(75, 80, 90)), NCCL)
    (change,), context, gpu_code = plan(root, "9.0", "8.6", "9.0")
    task, _ = carry_out(root, change, context, gpu_code)
    gpu_code.check(task, context)
    assert isinstance(change, Rewrite)
    assert change.key == "8.6 9.0 ptx=when-needed"
    assert names(task.target) == [["sm_80", "sm_90"]] * 2


def test_a_second_run_has_nothing_to_do(root: Path, library: Path) -> None:
    put(root, library, NCCL)
    (change,), context, gpu_code = plan(root)
    carry_out(root, change, context, gpu_code)[0].target.replace(root / NCCL)
    changes, context, _ = plan(root)
    assert (changes, context.codes) == ([], [])


def test_fewer_targets_later_are_as_good_as_at_once(root: Path, library: Path) -> None:
    put(root, library, NCCL, "once/libnccl.so.2")
    for targets in (("8.0", "9.0"), ("8.0",)):
        changes, context, gpu_code = plan(root, *targets)
        for change in changes:
            if change.path == NCCL or targets == ("8.0",):
                task, _ = carry_out(root, change, context, gpu_code)
                gpu_code.check(task, context)
                task.target.replace(task.source)
    assert names(root / NCCL) == names(root / "once/libnccl.so.2") == [["sm_80"]] * 2


def test_only_libraries_whose_licence_is_known_to_allow_it_change(root: Path, library: Path) -> None:
    put(root, library, NCCL, CUBLAS, "torch/lib/libcudnn_ops.so.9", "mine/_kernels.so")
    changes, context, _ = plan(root)
    assert {change.path: type(change) for change in changes} == {
        NCCL: Rewrite, CUBLAS: Keep, "torch/lib/libcudnn_ops.so.9": Keep, "mine/_kernels.so": Keep,
    }  # fmt: skip
    reasons = {change.path: change.reason for change in changes}
    assert reasons[CUBLAS] == reasons["torch/lib/libcudnn_ops.so.9"]
    assert "NVIDIA's licence forbids to modify its libraries; name it in `libraries` if you may" in reasons[CUBLAS]
    assert "whether its licence allows to distribute it changed is not known here" in reasons["mine/_kernels.so"]
    assert context.codes == []


def test_others_change_when_they_are_named_with_one_finding_a_distribution(root: Path, library: Path) -> None:
    put(root, library, NCCL, CUBLAS, "nvidia/cufft/lib/libcufft.so.11", "mine/_kernels.so", "other/_C.so")
    changes, context, _ = plan(root, libraries=("nvidia/**", "mine/*.so", "nothing/**"))
    assert {change.path for change in changes if isinstance(change, Rewrite)} == {
        NCCL, CUBLAS, "nvidia/cufft/lib/libcufft.so.11", "mine/_kernels.so"
    }  # fmt: skip
    assert [(finding.code, finding.path) for finding in context.findings] == [
        ("MB303", None), ("MB432", "mine/_kernels.so"), ("MB432", CUBLAS),
    ]  # fmt: skip
    assert "nothing/**" in context.findings[0].message
    assert "not known" in context.findings[1].message
    message = "`libraries` has 2 libraries of nvidia changed: NVIDIA's licence forbids to modify its libraries"
    assert context.findings[2].message == message


def test_torch_with_nvidia_s_libraries_linked_into_it_is_none_of_torch_s_alone(root: Path, library: Path) -> None:
    """Those that torch links dynamically are in its NEEDED; without them, their code is in it."""
    put(root, library, "torch/lib/libtorch_cuda.so")
    (change,), _, _ = plan(root)
    assert isinstance(change, Keep)
    stub = compile_elf(root.parent / "stub.so", source="int stub;")
    linked = ("libcublas.so.12", "libcudnn.so.9", "libcufft.so.11", "libcurand.so.10", "libcusparse.so.12")
    for name in linked:  # they have no SONAME, so that NEEDED has their files' names
        shutil.copy(stub, root.parent / name)
    flags = ("-Wl,--no-as-needed", *(f"-l:{name}" for name in linked))
    gpu_library(root / "torch/lib/libtorch_cuda.so", None, f"-L{root.parent}", *flags)
    (change,), _, _ = plan(root)
    assert isinstance(change, Rewrite)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ((), ['tool.mlbundle.gpu_code.targets: must name the GPUs to keep code for, like ["8.0", "9.0"]']),
        (("8.0", "sm_90", "A100"), ["tool.mlbundle.gpu_code.targets[1]: 'sm_90'", "tool.mlbundle.gpu_code.targets[2]: 'A100'"]),
    ],
)
def test_targets_that_are_none_are_told_all_at_once(root: Path, targets: tuple[str, ...], told: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        GpuCode(GpuCodeOptions(targets=targets)).inputs(root)
    assert [fault[: len(begin)] for fault, begin in zip(error.value.faults, told, strict=True)] == told


def test_a_target_that_nothing_of_a_distribution_has_code_for_is_told(root: Path, library: Path) -> None:
    put(root, library, NCCL)
    changes, context, _ = plan(root, "8.0", "12.0", "10.0")
    assert [type(change) for change in changes] == [Rewrite]
    assert [(finding.code, finding.path) for finding in context.findings] == [("MB433", NCCL)]
    assert context.findings[0].message == "nvidia has no code for GPUs of compute capability 10.0 and 12.0: it will not run on them"


def test_where_nothing_would_be_left_the_libraries_stay(root: Path, library: Path) -> None:
    put(root, library, NCCL)
    (change,), context, _ = plan(root, "12.0")
    assert isinstance(change, Keep)
    assert "nothing of it would be left for the targets" in change.reason
    assert context.codes == ["MB433"]


def test_a_library_for_one_sort_of_gpu_beside_others_loses_all(root: Path, library: Path) -> None:
    put(root, library, "vllm/_C.abi3.so")
    put(root, gpu_library(root.parent / "lib.so", containers(90)), "vllm/_hopper_C.abi3.so")
    changes, context, gpu_code = plan(root)
    assert [type(change) for change in changes] == [Rewrite, Rewrite]
    task, _ = carry_out(root, changes[1], context, gpu_code)
    gpu_code.check(task, context)
    assert names(task.target) == [[], []]
    assert context.codes == []


def test_a_library_that_is_excluded_serves_its_distribution_all_the_same(root: Path) -> None:
    for number in (80, 90):
        put(root, gpu_library(root.parent / "lib.so", containers(number)), f"vllm/_{number}_C.abi3.so")
    changes, context, _ = plan(root, excluded=("vllm/_80_C.abi3.so",))
    assert [(change.path, type(change)) for change in changes] == [("vllm/_90_C.abi3.so", Rewrite)]
    assert context.codes == []
    assert plan(root, "12.0", excluded=("vllm/_80_C.abi3.so", "vllm/_90_C.abi3.so"))[1].codes == []


def test_ptx_that_would_go_is_code_for_a_target_all_the_same(root: Path) -> None:
    put(root, gpu_library(root.parent / "lib.so", containers(70, kind=1)), NCCL)
    (change,), context, _ = plan(root, ptx="none")
    assert isinstance(change, Keep)
    assert "nothing of it would be left for the targets" in change.reason
    assert context.codes == []


def test_ptx_that_is_asked_to_go_and_leaves_nothing_is_told(root: Path) -> None:
    data = containers(80, 90) + fatbin(Code(70, payload(1), kind=1), Code(90, payload(2)))
    put(root, gpu_library(root.parent / "lib.so", data), NCCL)
    (change,), context, _ = plan(root)
    assert (context.codes, "compute_70" in change.reason) == ([], False)
    (change,), context, _ = plan(root, ptx="none")
    assert "compute_70" in change.reason
    assert [(finding.code, finding.path) for finding in context.findings] == [("MB435", NCCL)]


def test_code_that_cannot_be_believed_is_a_finding_and_stays(root: Path) -> None:
    put(root, gpu_library(root.parent / "lib.so", containers(80, 90) + b"\1" * 64), NCCL)
    changes, context, _ = plan(root)
    assert changes == []
    assert [(finding.code, finding.path) for finding in context.findings] == [("MB434", NCCL)]
    assert str(root) not in context.findings[0].message


def test_what_cannot_be_compacted_stays_with_a_reason(root: Path) -> None:
    fatbin_library(root / "libnccl.so.2", containers(80, 90))
    (change,), context, _ = plan(root)
    assert isinstance(change, Keep)
    assert "it stays, it is not linked against glibc" in change.reason
    assert context.codes == []


def test_a_gain_of_less_than_a_block_is_none(root: Path) -> None:
    put(root, gpu_library(root.parent / "lib.so", containers(80, 90, count=1, size=1000)), NCCL)
    assert plan(root)[0] == []


def test_what_has_no_gpu_code_is_none_of_its_business(root: Path) -> None:
    put(root, gpu_library(root.parent / "lib.so", fatbin() * 2), "libnccl.so.2")
    (root / "libnccl-broken.so").write_bytes((root / "libnccl.so.2").read_bytes()[:200])
    build_elf(root / "libx.so", [Part(".text", b"c" * 600, flags=2)])
    changes, context, _ = plan(root)
    assert (changes, context.codes) == ([], [])


def test_the_original_is_not_written_to_through_another_name(root: Path, library: Path) -> None:
    """What uv and conda install are names of files in their caches."""
    put(root, library, NCCL)
    os.link(root / NCCL, root.parent / "cached")
    before = (root / NCCL).read_bytes()
    (change,), context, gpu_code = plan(root)
    task, _ = carry_out(root, change, context, gpu_code)
    task.target.replace(task.source)
    assert (root.parent / "cached").read_bytes() == before
    assert task.source.stat().st_ino != (root.parent / "cached").stat().st_ino


def spoil(path: Path, at: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 1]))


def test_a_result_that_differs_anywhere_is_unsound(root: Path, library: Path) -> None:
    put(root, library, NCCL)
    (change,), context, gpu_code = plan(root)
    task, _ = carry_out(root, change, context, gpu_code)
    kept = code_in(task.target)[1].entries[0]
    spoil(task.target, kept.offset + kept.header + 500)
    with pytest.raises(UnsoundResultError, match=r"\A(?!/)"):
        gpu_code.check(task, context)


def test_every_option_has_its_sentence() -> None:
    assert all(each.metadata["doc"].endswith((".", ")")) for each in fields(GpuCodeOptions))


def test_windows_libraries_stay_with_a_reason(root: Path) -> None:
    need(MINGW)
    text = root.parent / "x.c"
    text.write_text('__attribute__((section(".nv_fatb"))) const char code[5000] = "c";\n__declspec(dllexport) int f(void) { return 1; }\n')
    subprocess.run([MINGW, "-shared", "-o", root / "torch_cuda.dll", text], check=True)
    (change,), context, _ = plan(root)
    assert isinstance(change, Keep)
    assert "a Windows library" in change.reason
    assert context.codes == []
