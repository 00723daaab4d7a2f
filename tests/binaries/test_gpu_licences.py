from __future__ import annotations

import re

import pytest

from hatch_mlbundle.binaries.gpu_licences import LICENCES, is_nvidias, licence_of

TORCH = ("libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.9", "libcufft.so.11", "libcurand.so.10", "libcusparse.so.12", "libc.so.6")


@pytest.mark.parametrize(
    ("path", "needed", "distribution"),
    [
        ("torch/lib/libtorch_cuda.so", TORCH, "torch"),
        ("_internal/torch/lib/libtorch_cuda.so", TORCH, "torch"),
        ("usr/lib/python3/dist-packages/torch/lib/libtorch_cuda.so", TORCH, "torch"),
        ("mine.libs/libtorch_cuda-0a1b2c3d.so", TORCH, "torch"),
        ("torch/lib/libtorch_cuda.so", TORCH[1:2], None),  # the others are linked statically
        ("torch/lib/libtorch_nvshmem.so", (), None),  # NVSHMEM is, always
        ("torch/lib/libtorch_cuda_linalg.so", ("libcublas.so.12", "libcusolver.so.11"), "torch"),
        ("torchvision/_C.so", (), "torchvision"),
        ("torchvision.libs/libnvjpeg.36e11081.so.13", (), None),
        ("torchvision.libs/libcudart.60cfec8e.so.11.0", (), None),
        ("other/_C.so", (), None),
        ("nvidia/nccl/lib/libnccl.so.2", (), "nvidia-nccl-cu12"),
        ("torch/lib/libnccl-0a1b2c3d.so.2", (), "nvidia-nccl-cu12"),
        ("cupy/cuda/thrust.cpython-311-x86_64-linux-gnu.so", (), "cupy-cuda12x"),
        ("cupy/.data/lib/libcutensor.so.2", (), None),
        ("cupy/.data/lib/libcudnn_ops.so", (), None),
        ("vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so", (), "vllm"),
        ("ctranslate2.libs/libctranslate2-a7a60d30.so.4.8.5", (), "ctranslate2"),
        ("ctranslate2.libs/libcudnn-74a4c495.so.9.1.0", (), None),
        ("tensorflow/libtensorflow_cc.so.2", (), "tensorflow"),
        ("lib/libxgboost.so", (), "xgboost"),
    ],
)
def test_a_library_goes_by_its_file_s_name(path: str, needed: tuple[str, ...], distribution: str | None) -> None:
    found = licence_of(path, needed)
    assert (found.distribution if found else None) == distribution


@pytest.mark.parametrize(
    ("path", "owner", "is_theirs"),
    [
        ("torch/lib/libcublasLt.so.12", "torch", True),
        ("torch/lib/libcudnn_engines_precompiled.so.9", "torch", True),
        ("nvidia/cusparselt/lib/libcusparseLt.so.0", "nvidia_cusparselt_cu12", True),
        ("x/libnppig-3a2b1c0d.so.12", "mine", True),
        ("nvidia/other/lib/libnew.so", "nvidia", True),
        ("lib/libcurl.so.4", "mine", False),
        ("lib/libcudf.so", "libcudf_cu12", False),
        ("lib/libnvme.so.1", "mine", False),
        ("torch/lib/libtorch_cuda.so", "torch", False),
    ],
)
def test_nvidia_s_libraries_are_known_wherever_they_lie(path: str, owner: str, is_theirs: bool) -> None:
    assert is_nvidias(path, owner) == is_theirs


def test_every_licence_is_one_that_allows_to_distribute_changed_binaries() -> None:
    assert {each.spdx for each in LICENCES} <= {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT"}
    assert all(re.search(r"wheel \d|repository", each.source) and each.libraries for each in LICENCES)
