"""What names and places tell: libraries of NVIDIA's, models of the Hugging Face hub, formats, and whose the rest is."""

from __future__ import annotations

import re
from posixpath import basename

from hatch_mlbundle.manifest import ComponentKind

from .listings import owner_by_place

_CUDA_NAMES = re.compile(
    r"(?:lib)?(?:cuda|cudnn|cublas|cufft|cufile|curand|cusolver|cusparse|cusparselt|cutensor|nccl|npp|nvjpeg|nvjitlink|nvrtc|nvtx|nvshmem"
    r"|tensorrt|nvinfer|nvonnxparsers?|nvparsers?|nvidia|nsight)\w*(?:[-.+].*)?"
)
"""Names of packages: of Debian's and Red Hat's repositories at NVIDIA, conda's and PyPI's (docs.nvidia.com, "CUDA Installation Guide")."""
_CUDA_LIBRARY = re.compile(
    r"(lib(?:cublas|cublasLt|cudart|cudnn|cudnn_\w+|cufft|cufftw|cufile|cupti|curand|cusolver|cusolverMg|cusparse|cusparseLt|nccl|npp\w+"
    r"|nvinfer|nvinfer_\w+|nvjpeg|nvJitLink|nvrtc|nvrtc-builtins|nvshmem_\w+|nvToolsExt))(?:-[0-9a-f]{6,})?\.so(?:\.([\d.]+))?"
)
_CUDA_FOLDER = re.compile(r"usr/local/cuda(?:-([\d.]+))?(?:/|$)")
_HUB = re.compile(r"(?:.*/)?models--([^/]+)/snapshots/([^/]+)(?:/.*)?")
"""huggingface_hub, "Understand caching": `models--ORGANIZATION--NAME`."""
_FORMATS = {
    ".safetensors": "safetensors",
    ".gguf": "GGUF",
    ".ggml": "GGML",
    ".onnx": "ONNX",
    ".tflite": "TensorFlow Lite",
    ".keras": "Keras",
    ".h5": "Keras",
    ".pb": "TensorFlow",
    ".msgpack": "Flax",
    ".joblib": "joblib",
    ".engine": "TensorRT",
    ".mlmodel": "Core ML",
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".torchscript"), "PyTorch"),
}
_PYTHON_VERSION = re.compile(r"python(\d+\.\d+)")
_SYSTEM = re.compile(r"bin|boot|dev|etc|lib|lib32|lib64|libx32|media|mnt|proc|run|sbin|sys|usr|var")
"""Folders of a distribution (hier(7)); what lies in others, an application brought."""
_OURS = ("usr/local/", "var/www/", "var/app/", "var/task/", "opt/", "home/", "srv/")
"""Folders whose subfolders are applications."""


def cuda_name(package: str) -> bool:
    """Say whether a package of this name holds NVIDIA's libraries or tools."""
    return _CUDA_NAMES.fullmatch(package.lower().replace("_", "-")) is not None


def cuda_library(path: str) -> tuple[str, str] | None:
    """Return name and version of the library of NVIDIA's that a file is by its name or place, None for others."""
    if match := _CUDA_LIBRARY.fullmatch(basename(path)):
        return match[1], match[2] or ""
    if match := _CUDA_FOLDER.match(path):
        return "CUDA", match[1] or ""
    return None


def model_of_hub(path: str) -> tuple[str, str] | None:
    """Return organization and name, and the revision, of a model in a cache of the Hugging Face hub; None for others."""
    match = _HUB.fullmatch(path)
    return (match[1].replace("--", "/"), match[2]) if match else None


def model_format(path: str) -> str:
    """Return the format of weights by their name, "" where it tells none."""
    return _FORMATS.get(f".{path.rpartition('.')[2].lower()}", "")


def by_place(path: str) -> tuple[ComponentKind, str, str]:
    """Return kind, name and version of what a file belongs to that no package lists."""
    top = path.partition("/")[0]
    if re.search(r"(?:^|/)(?:site|dist)-packages/", path):
        return "package", owner_by_place(path), ""
    if owner_by_place(path) == "python":
        match = _PYTHON_VERSION.search(path)
        return "python", "Python", match[1] if match else ""
    above = next((folder for folder in _OURS if path.startswith(folder)), "")
    if above and "/" in path[len(above) :]:
        return "application", f"/{above}{path[len(above) :].partition('/')[0]}", ""
    if _SYSTEM.fullmatch(top) and not above:
        return "system", "", ""
    return "application", f"/{above.rstrip('/') or top}", ""
