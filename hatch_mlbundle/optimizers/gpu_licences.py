"""Whose GPU code may be distributed changed: the libraries of which this is known, each by the licence that its distribution has.

A library goes by its file's name, not by the distribution that it came with: torch's wheels have had NVIDIA's libraries in their folder,
and what auditwheel copies into `NAME.libs` stays its authors'. Where each licence was read is in docs/gpu-code.md.
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
    statically, and does not count.
    """

    distribution: str
    spdx: str
    libraries: tuple[str, ...]
    links: tuple[str, ...] = ()


LICENCES = (
    Licence(
        distribution="torch",
        spdx="BSD-3-Clause",
        libraries=("libtorch_cuda.so", "libtorch_cuda-*.so"),
        links=("libcublas", "libcudnn", "libcufft", "libcurand", "libcusparse"),
    ),
    Licence(
        distribution="torch",
        spdx="BSD-3-Clause",
        libraries=("libtorch_cuda_linalg.so", "libtorch_cuda_linalg-*.so"),
        links=("libcublas", "libcusolver"),
    ),
    Licence(distribution="torchvision", spdx="BSD-3-Clause", libraries=("**/torchvision/_C*.so",)),
    Licence(distribution="torchaudio", spdx="BSD-2-Clause", libraries=("**/torchaudio/lib/*torchaudio*.so",)),
    Licence(distribution="nvidia-nccl", spdx="BSD-3-Clause", libraries=("libnccl.so*", "libnccl-*.so*")),
    Licence(distribution="bitsandbytes", spdx="MIT", libraries=("libbitsandbytes_cuda*.so",), links=("libcublas",)),
    Licence(distribution="ctranslate2", spdx="MIT", libraries=("libctranslate2.so*", "libctranslate2-*.so*")),
    Licence(distribution="cupy", spdx="MIT", libraries=("**/cupy/**/*.so",)),
    Licence(distribution="faiss-gpu", spdx="MIT", libraries=("libfaiss.so", "libfaiss-*.so"), links=("libcublas",)),
    Licence(distribution="jax-cuda-plugin", spdx="Apache-2.0", libraries=("**/jax_cuda*_plugin/*.so", "xla_cuda_plugin.so")),
    Licence(distribution="llama-cpp-python", spdx="MIT", libraries=("libggml-cuda.so",), links=("libcublas",)),
    Licence(
        distribution="onnxruntime-gpu", spdx="MIT", libraries=("libonnxruntime_providers_cuda.so",), links=("libcublas", "libcurand")
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
    ),
    Licence(distribution="vllm", spdx="Apache-2.0", libraries=("**/vllm/*.abi3.so", "**/vllm/vllm_flash_attn/*.abi3.so")),
    Licence(distribution="xformers", spdx="BSD-3-Clause", libraries=("**/xformers/**/*.so",)),
    Licence(distribution="xgboost", spdx="Apache-2.0", libraries=("libxgboost.so",)),
)
"""The list: that of docs/gpu-code.md. The version of `gpu_code` goes up with it."""

_NVIDIA = re.compile(
    r"lib(?:cu(?:blas|dart|dnn|dss|fft|file|inj|pti|rand|solver|sparse|statevec|tensor)"
    r"|nv(?:JitLink|ToolsExt|blas|comp|fatbin|infer|jpeg|perf|ptxcompiler|rtc|shmem|tiff|vm)|npp)\w*[-.].*",
    re.DOTALL,
)
_NAMED_NVIDIA = re.compile(r"(?:.*[/])?_?nvidia(?:[-_/].*)?", re.DOTALL)


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
