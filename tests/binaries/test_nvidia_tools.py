"""NVIDIA's own tools on pruned fat binaries: what their compiler would have written, what their linkers take. No GPU is needed."""

from __future__ import annotations

import platform
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from hatch_mlbundle.binaries.edits import EditedReader
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin import SECTIONS, read_containers
from hatch_mlbundle.binaries.fatbin_pruning import prune
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target
from hatch_mlbundle.binaries.reader import Reader
from tests.cudatools import Cuda, download_cuda
from tests.elfsmith import need
from tests.fatbinsmith import decoded, entries_of, pruned_copy
from tests.nvjitlink import NvJitLink

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="the tools are for x86-64 Linux"),
]

KERNEL = "__global__ void kernel(float *a) { a[threadIdx.x] *= 2.5f; }\n"
CODES = {"8.0": "arch=compute_80,code=sm_80", "8.6": "arch=compute_86,code=sm_86", "9.0": "arch=compute_90a,code=[sm_90a,compute_90a]"}
PTX = """
.version 9.0
.target sm_{target}
.address_size 64
.visible .entry kernel(.param .u64 pointer)
{{
    .reg .b64 %a<3>;
    .reg .f32 %f<3>;
    ld.param.u64 %a1, [pointer];
    cvta.to.global.u64 %a2, %a1;
    ld.global.f32 %f1, [%a2];
    mul.f32 %f2, %f1, 0f{number};
    st.global.f32 [%a2], %f2;
    ret;
}}
"""


@pytest.fixture(scope="module")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Cuda:
    need("gcc")
    return download_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, cuda: Cuda) -> Path:
    """Return a library with code for three architectures, and the compiler's intermediate files beside it."""
    return compiled(cuda, tmp_path_factory.mktemp("library"), *CODES.values())


def compiled(cuda: Cuda, folder: Path, *codes: str) -> Path:
    (folder / "kernel.cu").write_text(KERNEL)
    words = [word for code in codes for word in ("-gencode", code)]
    cuda.run("nvcc", "-c", "-t2", "--keep", "-Xcompiler", "-fPIC", "-Xfatbin", "-compress-all", *words, "kernel.cu", cwd=folder)
    subprocess.run(["gcc", "-shared", "-o", "kernel.so", "kernel.o"], cwd=folder, check=True)
    return folder / "kernel.so"


def container(library: Path) -> bytes:
    """Return the library's one container as it is."""
    with Reader(library) as reader:
        (section,) = (each for each in read_elf(reader).sections if each.name in SECTIONS)
        (found,) = read_containers(reader, section.offset, section.end)
        return reader.read(found.offset, found.end - found.offset, "container")


def test_what_is_left_is_what_nvcc_writes_for_one_architecture(tmp_path: Path, cuda: Cuda, library: Path) -> None:
    pruned_copy(library, tmp_path / "pruned.so", "9.0", "all")
    assert container(tmp_path / "pruned.so") == container(compiled(cuda, tmp_path, CODES["9.0"]))


@pytest.mark.parametrize(("target", "file"), [("8.0", "kernel.compute_80.cubin"), ("8.6", "kernel.compute_86.cubin"), ("7.5", None)])
def test_what_is_left_is_what_fatbinary_writes(tmp_path: Path, cuda: Cuda, library: Path, target: str, file: str | None) -> None:
    image = f"--image3=kind=elf,sm={target.replace('.', '')},file={file}"
    out = tmp_path / "alone.fatbin"
    cuda.run("fatbinary", "-64", "--compress-all", *([image] if file else []), f"--create={out}", cwd=library.parent)
    pruned_copy(library, tmp_path / "pruned.so", target)
    assert container(tmp_path / "pruned.so") == out.read_bytes()


def test_code_is_whole_when_it_is_decompressed(tmp_path: Path, library: Path) -> None:
    pruned_copy(library, tmp_path / "pruned.so", "8.0 9.0", "all")
    (entries,) = entries_of(tmp_path / "pruned.so")
    assert [name for name, _ in entries] == ["sm_80", "sm_90a", "compute_90a (PTX)"]
    code = [decoded(entry) for _, entry in entries]
    assert code[:2] == [file.read_bytes() for arch in ("80", "90a") for file in library.parent.glob(f"*_{arch}.cubin")]
    assert b".target sm_90a" in code[2]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, cuda: Cuda) -> Path:
    """Return a folder with a cubin or PTX for each of many targets, all of which differ."""
    folder = tmp_path_factory.mktemp("parts")
    for number, target in enumerate(["75", "80", "86", "87", "89", "90", "90a", "100", "100f", "103", "120", "121"]):
        text = PTX.format(target=target, number=struct.pack(">f", number + 2.5).hex())
        (folder / f"{target}.ptx").write_text(text)
        cuda.run("ptxas", "-c", f"-arch=sm_{target}", f"{target}.ptx", "-o", f"{target}.cubin", cwd=folder)
        (folder / f"{target}.ptx").write_text(text.replace("0f4", "0fc"))  # the other sign: PTX is told from cubins
    return folder


def packed(cuda: Cuda, folder: Path, names: list[str], *flags: str) -> bytes:
    """Return a container as fatbinary writes it of `80.cubin`, `86.ptx`..."""
    images = []
    for name in names:
        target, _, kind = name.partition(".")
        images.append(f"--image3=kind={'elf' if kind == 'cubin' else kind},sm={target},file={name}")
    cuda.run("fatbinary", "-64", "-c", *flags, *images, "--create=packed.fatbin", cwd=folder)
    return (folder / "packed.fatbin").read_bytes()


def pruned(path: Path, targets: str, ptx: Ptx = "when-needed") -> bytes:
    """Return a file of containers as it is after pruning."""
    with Reader(path) as reader:
        edits = prune(read_containers(reader, 0, reader.size), [Target.parse(each) for each in targets.split()], ptx).edits
        return EditedReader(reader, edits).read(0, reader.size, "all")


GPUS = {
    "8.0": "sm_80",
    "8.6": "sm_86",
    "8.7": "sm_87",
    "8.9": "sm_89",
    "9.0": "sm_90a",
    "10.0": "sm_100a",
    "10.3": "sm_103a",
    "12.1": "sm_121",
}


def test_nvjitlink_takes_the_same_code_from_what_is_left(cuda: Cuda, parts: Path) -> None:
    """It takes the code of one entry: had another one been taken, the result would be another one."""
    linker = NvJitLink(cuda.folder / "lib" / "libnvJitLink.so.13")
    numbers = random.Random(1)
    names = sorted(each.name for each in parts.iterdir() if each.suffix in (".cubin", ".ptx"))
    linked: list[bytes | int] = []
    for _ in range(60):
        chosen = numbers.sample(names, numbers.randrange(1, 7))
        whole = packed(cuda, parts, chosen)
        for target in numbers.sample(sorted(GPUS), 3):
            left = pruned(parts / "packed.fatbin", target)
            linked.append(linker.link(whole, GPUS[target]))
            assert linker.link(left, GPUS[target]) == linked[-1], (target, chosen)
    assert len({each for each in linked if isinstance(each, bytes)}) > 15
    assert linked.count(linker.link(packed(cuda, parts, []), "sm_80")) > 10


def test_an_empty_container_is_one_without_code_for_the_gpu_and_no_damaged_one(cuda: Cuda, parts: Path) -> None:
    linker = NvJitLink(cuda.folder / "lib" / "libnvJitLink.so.13")
    other, empty = packed(cuda, parts, ["90.cubin"]), pruned(parts / "packed.fatbin", "8.0")
    assert empty[:16] == packed(cuda, parts, [])
    assert not any(empty[16:])
    assert isinstance(linker.link(other, "sm_80"), int)
    assert linker.link(empty, "sm_80") == linker.link(other, "sm_80") != linker.link(b"damaged!" + other[8:], "sm_80")


def test_cubins_that_are_compressed_together_stay_together(cuda: Cuda, parts: Path) -> None:
    linker = NvJitLink(cuda.folder / "lib" / "libnvJitLink.so.13")
    whole = packed(cuda, parts, ["80.cubin", "86.cubin", "90a.cubin", "100f.cubin", "75.ptx"], "--concat")
    for target in ("8.0", "8.9", "9.0"):
        left = pruned(parts / "packed.fatbin", target)
        assert linker.link(left, GPUS[target]) == linker.link(whole, GPUS[target])
        assert left != whole
        assert left.rstrip(b"\0")[-100:] == whole.rstrip(b"\0")[-100:]


@pytest.mark.parametrize(
    ("target", "names", "taken"),
    [
        ("sm_86", ["80.cubin", "86.cubin"], "86.cubin"),
        ("sm_89", ["86.cubin", "80.cubin"], "86.cubin"),
        ("sm_89", ["86.ptx", "80.cubin"], "86.ptx"),
        ("sm_89", ["80.ptx", "80.cubin"], "80.cubin"),
        ("sm_89", ["80.ptx", "86.ptx"], "86.ptx"),
        ("sm_103", ["100.cubin", "100f.cubin", "103.cubin"], "103.cubin"),
        ("sm_103", ["100f.cubin"], "100f.cubin"),
        ("sm_121", ["120.cubin"], "120.cubin"),
        ("sm_90", ["90a.cubin"], None),
        ("sm_90", ["80.cubin", "89.cubin"], None),
        ("sm_80", ["86.cubin", "86.ptx"], None),
    ],
)
def test_which_code_nvjitlink_takes(cuda: Cuda, parts: Path, target: str, names: list[str], taken: str | None) -> None:
    linker = NvJitLink(cuda.folder / "lib" / "libnvJitLink.so.13")
    result = linker.link(packed(cuda, parts, names), target)
    assert result == linker.link(packed(cuda, parts, [taken] if taken else []), target)
    assert isinstance(result, bytes) == (taken is not None)


def test_nvlink_makes_the_same_of_pruned_objects_and_archives(tmp_path: Path, cuda: Cuda) -> None:
    need("ar")
    (tmp_path / "user.cu").write_text("extern __device__ float f(float);\n__global__ void kernel(float *a) { *a = f(*a); }\n")
    (tmp_path / "maker.cu").write_text("__device__ float f(float x) { return 2.5f * x; }\n")
    codes = [word for each in ("8.0", "8.6") for word in ("-gencode", CODES[each])]
    cuda.run("nvcc", "-dc", "-t2", *codes, "user.cu", "maker.cu", cwd=tmp_path)
    (tmp_path / "pruned").mkdir()
    for name in ("user.o", "maker.o"):
        (tmp_path / "pruned" / name).write_bytes(pruned_object(tmp_path / name, "8.6"))
    made = []
    for folder in (tmp_path, tmp_path / "pruned"):
        subprocess.run(["ar", "rcs", "libmaker.a", "maker.o"], cwd=folder, check=True)
        for library in ("maker.o", "libmaker.a"):
            assert not cuda.run("nvlink", "-arch=sm_86", "user.o", library, "-o", "out.cubin", cwd=folder).stdout
            made.append((folder / "out.cubin").read_bytes())
    assert made[:2] == made[2:]
    told = cuda.run("nvlink", "-arch=sm_80", "user.o", "maker.o", "-o", "out.cubin", cwd=tmp_path / "pruned").stdout
    assert "SM Arch ('sm_80') not found in 'user.o'" in told
    assert (
        "SM Arch ('sm_75') not found in 'user.o'"
        in cuda.run("nvlink", "-arch=sm_75", "user.o", "maker.o", "-o", "out.cubin", cwd=tmp_path).stdout
    )  # the same words as where there was none to begin with


def pruned_object(path: Path, target: str) -> bytes:
    with Reader(path) as reader:
        (section,) = (each for each in read_elf(reader).sections if each.name in SECTIONS and each.filesz)
        edits = prune(read_containers(reader, section.offset, section.end), [Target.parse(target)]).edits
        return EditedReader(reader, edits).read(0, reader.size, "all")
