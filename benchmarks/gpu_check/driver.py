"""The GPU of this machine, as its driver tells (CUDA Driver API: cuInit, cuDeviceGet, cuDeviceGetAttribute)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_NAME = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The first GPU: its name, its compute capability as `M.m`, and the newest CUDA that the driver knows, as `M.m`."""

    name: str
    capability: str
    cuda: str


def find_gpu() -> Gpu | str:
    """Return the first GPU that CUDA_VISIBLE_DEVICES leaves, or in one line why there is none."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"there is no NVIDIA driver ({error})"
    device, count, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME)
    numbers = [ctypes.c_int(), ctypes.c_int()]
    code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        return f"the NVIDIA driver has no GPU for us ({_error(cuda, code)})"
    code = (
        cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetName(name, _NAME, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(numbers[0]), _MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(numbers[1]), _MINOR, device)
        or cuda.cuDriverGetVersion(ctypes.byref(version))
    )
    if code:
        return f"the NVIDIA driver does not tell about its GPU ({_error(cuda, code)})"
    major, minor = (number.value for number in numbers)
    return Gpu(name=name.value.decode(), capability=f"{major}.{minor}", cuda=f"{version.value // 1000}.{version.value % 1000 // 10}")


def _error(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(text))
    return (text.value or b"unknown error").decode() if code else "it counts none"
