"""Whose GPU code may be distributed changed: the libraries of which this is known, each by the licence that its distribution has.

A library goes by its file's name, not by the distribution that it came with: torch's wheels have had NVIDIA's libraries in their folder,
and what auditwheel copies into `NAME.libs` stays its authors'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hatch_mlbundle.globs import matcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """What is known of some libraries: they come with `distribution` under `spdx` (an SPDX expression), `libraries` are globs of theirs.

    `links` are libraries of NVIDIA's that such a library needs (beginnings of names): one that does not has NVIDIA's code inside, linked
    statically, and does not count. `inside` is the GPU code of others that is in it by its kernels' names, and `source` where all of this
    was read.
    """

    distribution: str
    spdx: str
    libraries: tuple[str, ...]
    source: str
    inside: str = ""
    links: tuple[str, ...] = ()


_CCCL = "Thrust, CUB"
_CUTLASS = f"{_CCCL}, CUTLASS"
_NCCL = f"{_CCCL}, NCCL"

LICENCES = (
    Licence(
        distribution="bitsandbytes",
        spdx="MIT",
        libraries=("libbitsandbytes_cuda*.so",),
        source="wheel 0.50.2",
        inside=_CCCL,
        links=("libcublas",),
    ),
    Licence(
        distribution="ctranslate2",
        spdx="MIT",
        libraries=("libctranslate2.so*", "libctranslate2-*.so*"),
        source="wheel 4.8.5",
        inside=_NCCL,
    ),
    Licence(
        distribution="cupy-cuda12x",
        spdx="MIT",
        libraries=("**/cupy/**/*.so",),
        source="wheel 14.2.0",
        inside=f"{_CCCL}, functions of cuRAND's headers",
    ),
    Licence(
        distribution="faiss-gpu-cu12",
        spdx="MIT",
        libraries=("libfaiss.so", "libfaiss-*.so"),
        source="wheel 1.14.1",
        inside=_CCCL,
        links=("libcublas",),
    ),
    Licence(
        distribution="flash-attn",
        spdx="BSD-3-Clause",
        libraries=("flash_attn_2_cuda*.so", "**/flash_attn_3/_C*.so"),
        source="its repository",
        inside="CUTLASS",
    ),
    Licence(
        distribution="jax-cuda12-pjrt",
        spdx="Apache-2.0",
        libraries=("xla_cuda_plugin.so",),
        source="wheel 0.12.0",
        inside=_NCCL,
    ),
    Licence(distribution="jax-cuda12-plugin", spdx="Apache-2.0", libraries=("**/jax_cuda*_plugin/*.so",), source="wheel 0.10.2"),
    Licence(
        distribution="llama-cpp-python",
        spdx="MIT",
        libraries=("libggml-cuda.so",),
        source="its repository, and that of llama.cpp",
        inside=_CCCL,
        links=("libcublas",),
    ),
    Licence(distribution="nvidia-nccl-cu12", spdx="BSD-3-Clause", libraries=("libnccl.so*", "libnccl-*.so*"), source="wheel 2.27.5"),
    Licence(
        distribution="onnxruntime-gpu",
        spdx="MIT",
        libraries=("libonnxruntime_providers_cuda.so",),
        source="wheel 1.31.1",
        inside=_CUTLASS,
        links=("libcublas", "libcurand"),
    ),
    Licence(
        distribution="tensorflow",
        spdx="Apache-2.0",
        libraries=(
            "libtensorflow_cc.so*",
            "libtensorflow_framework.so*",
            "**/tensorflow/python/lib_pywrap_tensorflow_common.so",
            "**/tensorflow/python/profiler/**/*.so",
        ),
        source="wheel 2.21.0",
        inside=_CUTLASS,
    ),
    Licence(
        distribution="torch",
        spdx="BSD-3-Clause",
        libraries=("libtorch_cuda.so", "libtorch_cuda-*.so"),
        source="wheel 2.9.1",
        inside=_CUTLASS,
        links=("libcublas", "libcudnn", "libcufft", "libcurand", "libcusparse"),
    ),
    Licence(
        distribution="torch",
        spdx="BSD-3-Clause",
        libraries=("libtorch_cuda_linalg.so", "libtorch_cuda_linalg-*.so"),
        source="wheel 2.9.1",
        inside="MAGMA",
        links=("libcublas", "libcusolver"),
    ),
    Licence(
        distribution="torchaudio",
        spdx="BSD-2-Clause",
        libraries=("**/torchaudio/lib/*torchaudio*.so",),
        source="wheel 2.11.0",
        inside=_CCCL,
    ),
    Licence(distribution="torchvision", spdx="BSD-3-Clause", libraries=("**/torchvision/_C*.so",), source="wheel 0.29.1"),
    Licence(
        distribution="vllm",
        spdx="Apache-2.0",
        libraries=("**/vllm/*.abi3.so", "**/vllm/vllm_flash_attn/*.abi3.so"),
        source="wheel 0.33.0",
        inside=_CUTLASS,
    ),
    Licence(
        distribution="xformers",
        spdx="BSD-3-Clause",
        libraries=("**/xformers/**/*.so",),
        source="wheel 0.0.35",
        inside="CUTLASS",
    ),
    Licence(distribution="xgboost", spdx="Apache-2.0", libraries=("libxgboost.so",), source="wheel 3.2.0", inside=_CCCL),
)
"""The list that docs/gpu-code.md shows. Its order decides nothing: no library is in two of them."""

_NVIDIA = re.compile(
    r"lib(?:cu(?:blas|dart|dnn|dss|fft|file|inj|pti|rand|solver|sparse|statevec|tensor)"
    r"|nv(?:JitLink|ToolsExt|blas|comp|fatbin|infer|jpeg|perf|ptxcompiler|rtc|shmem|tiff|vm)|npp)\w*[-.].*",
    re.DOTALL,
)
_NAMED_NVIDIA = re.compile(r"_?nvidia(?:[-_.].*)?", re.DOTALL)


def licence_of(path: str, needed: Iterable[str]) -> Licence | None:
    """Return what is known of the library at a path that needs these ones, None where nothing is, or NVIDIA's code is linked into it."""
    if _is_named_as_nvidias(path):
        return None
    known = next((each for each in LICENCES if _matcher(each.libraries)(path)), None)
    names = tuple(needed)
    if known is None or not all(any(name.startswith(link) for name in names) for link in known.links):
        return None
    return known


def is_nvidias(path: str, owner: str) -> bool:
    """Say whether a library is NVIDIA's, by its name, or by the distribution or package that it belongs to."""
    return _is_named_as_nvidias(path) or _NAMED_NVIDIA.fullmatch(owner) is not None


def _is_named_as_nvidias(path: str) -> bool:
    return _NVIDIA.fullmatch(path.rpartition("/")[2]) is not None


_matcher = cache(matcher)
