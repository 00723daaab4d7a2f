"""Libraries for NVIDIA's GPUs: twice in an image, or in one that runs without a GPU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from hatch_mlbundle.manifest import EditRow
from hatch_mlbundle.model import Kind
from hatch_mlbundle.units import format_size

from .caches import PIP_INSTALL
from .evidence import Evidence, Option
from .instructions import about, instead_of

_PACKAGES = r"(?P<root>(?:.*/)?(?:site|dist)-packages)/"
_WHEELS = re.compile(rf"{_PACKAGES}(?:nvidia|triton|(?:nvidia_|triton-|pytorch_triton)[^/]*\.dist-info)/.+")
"""What torch with CUDA needs besides itself: NVIDIA's wheels, and Triton, which compiles for GPUs."""
_OF_TORCH = re.compile(
    rf"{_PACKAGES}torch/lib/lib(?:torch_cuda\w*|c10_cuda|caffe2_nvrtc|cu(?:dart|blas|blasLt|dnn\w*|fft|fftw|solver\w*|sparse|sparseLt|rand|pti|file)"
    rf"|nccl|nvrtc\w*|nvrtc-builtins|nvJitLink|nvToolsExt|nvshmem\w*|torch_nvshmem)[-.][^/]*"
)
"""What the CPU's wheel of torch does not have; releases before 2.0 had NVIDIA's libraries in this folder."""
_SYSTEM = re.compile(
    r"usr/local/cuda-[\d.]+/.+\.so[\d.]*|usr/lib/(?:x86_64|aarch64)-linux-gnu/lib(?:cudnn|nccl|cublas|cusparse|cusolver|cufft|nvinfer)\w*\.(?:so[\d.]*)"
)
_LIBRARY = re.compile(r"(?:.*/)?(lib(?:cu|nv|nccl)[\w-]*?)(?:-[0-9a-f]{8})?\.so(?:\.\d[\d.]*)?")
_INDEX = "https://download.pytorch.org/whl/cpu"
_UV_INSTALL = re.compile(r"\buv pip install\b")
_ARCHITECTURES = 6


def gpu_options(evidence: Evidence) -> Iterator[Option]:
    """Yield what goes where no GPU is used, and libraries of CUDA that torch brings itself."""
    wheels = [path for path in evidence.paths if _WHEELS.fullmatch(path)]
    of_torch = [path for path in evidence.paths if _OF_TORCH.fullmatch(path)]
    if any("/torch/lib/libtorch_cuda" in path for path in of_torch):
        yield from _without_gpu(evidence, [*wheels, *of_torch])
        yield from _twice(evidence, [*wheels, *of_torch])


def _without_gpu(evidence: Evidence, paths: Sequence[str]) -> Iterator[Option]:
    if freed := evidence.freed(paths):
        told = _architectures(evidence)
        yield Option(
            name="cpu-wheel",
            title="Install torch for CPUs, where no GPU is used",
            freed=freed,
            pros=("At least this: torch's own library for CPUs is smaller as well.", *((told,) if told else ())),
            cons=("No GPU can be used. What names a device must name `cpu`.",),
            edits=tuple(_cpu_edits(evidence, paths)),
        )


def _architectures(evidence: Evidence) -> str:
    """Return which GPUs the code is for, as far as that was read."""
    sizes: Counter[str] = Counter()
    for row in evidence.contents:
        if row.view == "gpu":
            sizes.update({name: size for name, size in row.parts.items() if not name.startswith("(")})
    named = ", ".join(f"{name} {format_size(size)}" for name, size in sizes.most_common(_ARCHITECTURES))
    rest = f" and {len(sizes) - _ARCHITECTURES} more" if len(sizes) > _ARCHITECTURES else ""
    return f"The GPU code goes: {named}{rest}." if named else ""


def _cpu_edits(evidence: Evidence, paths: Sequence[str]) -> Iterator[EditRow]:
    lines = []
    for number in evidence.by_layer(paths):
        made = evidence.made_by(number)
        new = made.with_flag(_UV_INSTALL, "--torch-backend=cpu") or made.with_flag(PIP_INSTALL, f"--extra-index-url {_INDEX}")
        lines.append(instead_of(number, made, new) if new else f"{about(number, made)}\n# install torch from {_INDEX} in it")
    yield EditRow(where="Dockerfile", text="\n".join(lines))


def _twice(evidence: Evidence, paths: Sequence[str]) -> Iterator[Option]:
    """Yield the system's CUDA libraries, where torch has its own: it takes no other ones."""
    own = {match[1] for path in paths if (match := _LIBRARY.fullmatch(path))}
    system = [
        path
        for path in evidence.paths
        if _SYSTEM.fullmatch(path) and evidence.bundle[path].kind is Kind.ELF and (match := _LIBRARY.fullmatch(path)) and match[1] in own
    ]
    if freed := evidence.freed(system):
        lines = [f"{about(number, evidence.made_by(number))}\n# brings CUDA a second time" for number in evidence.by_layer(system)]
        base = "# a base without CUDA's libraries; the driver comes from the host all the same\nFROM python:3.12-slim"
        yield Option(
            name="cuda-twice",
            title="Take a base without CUDA: torch brings it",
            freed=freed,
            pros=("torch loads the libraries of its own wheels. The NVIDIA container runtime mounts the driver into any image.",),
            cons=("Another program in the image may load CUDA from the system: one compiled with nvcc, TensorRT, CuPy.",),
            edits=(EditRow(where="Dockerfile", text="\n".join([*lines, base])),),
        )
