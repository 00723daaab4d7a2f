"""The GPUs that CUDA would see, from NVIDIA's management library (NVML API reference), which is part of the driver.

Asking CUDA itself would break processes that are forked later. Which GPUs are visible, and in which order they are counted, is decided as
in the CUDA C++ Programming Guide, "CUDA Environment Variables".
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    Capability = tuple[int, int]

_LIBRARY = "nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1"
_TEXT = 96
"""Bytes of a GPU's name or UUID (nvml.h, `NVML_DEVICE_NAME_V2_BUFFER_SIZE`, `NVML_DEVICE_UUID_V2_BUFFER_SIZE`)."""
_MOST = 1024
"""GPUs that no machine has."""
PATIENCE = 10
"""Seconds for the driver to answer: it may have to wake up many GPUs, and one that hangs is not to stop a program that needs none."""


class Gpu:
    """A GPU: its number as NVIDIA's tools count, name, UUID (`GPU-...`), and compute capability (major, minor).

    One that is `divided` is used in instances (MIG).
    """

    def __init__(self, number: int, name: str, uuid: str, capability: Capability, *, divided: bool = False) -> None:
        self.number = number
        self.name = name
        self.uuid = uuid
        self.capability = capability
        self.divided = divided


class Visible:
    """GPUs that CUDA would see: all of `gpus`, or, where it is not `sure` which, at least one of them."""

    def __init__(self, gpus: Sequence[Gpu], *, sure: bool = True) -> None:
        self.gpus = gpus
        self.sure = sure


def visible_gpus() -> Visible:
    """Return the GPUs that CUDA would see, none where there is no driver; raises TimeoutError where that does not answer."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and not chosen.strip():
        return Visible(())
    nvml = _nvml()
    return Visible(()) if nvml is None else _in_time(lambda: _visible(nvml, chosen))


def _in_time(asked: Callable[[], Visible]) -> Visible:
    """Return what a function returns that may never do so; raises what it raises, and TimeoutError."""
    from _thread import allocate_lock, start_new_thread

    found: list[Visible] = []
    faults: list[BaseException] = []
    waiting = allocate_lock()
    waiting.acquire()

    def ask() -> None:
        try:
            found.append(asked())
        except BaseException as fault:  # it is raised where it was asked
            faults.append(fault)
        finally:
            waiting.release()

    start_new_thread(ask, ())
    if not waiting.acquire(timeout=PATIENCE):
        raise TimeoutError(f"the driver of the GPUs has not answered for {PATIENCE} seconds")
    for fault in faults:
        raise fault
    return found[0]


def _visible(nvml: Any, chosen: str | None) -> Visible:
    if nvml.nvmlInit_v2() != 0:
        return Visible(())
    try:
        gpus = list(_gpus(nvml))
        visible = Visible(gpus) if chosen is None else among(gpus, chosen, lambda uuid: _parent(nvml, uuid))
        if any(gpu.divided for gpu in visible.gpus):
            return Visible(visible.gpus, sure=len(_capabilities(visible.gpus)) == 1)  # CUDA sees one instance, and no other GPU
        return visible
    except AttributeError:  # a driver of old, without all of these functions
        return Visible(())
    finally:
        nvml.nvmlShutdown()


def among(gpus: Sequence[Gpu], chosen: str, parent_of: Callable[[str], str]) -> Visible:
    """Return what CUDA_VISIBLE_DEVICES chooses: numbers, UUIDs or their beginnings, up to the first that is none.

    `parent_of` returns the UUID of the GPU that an instance of (MIG) is part of, empty where there is none.
    """
    found: dict[str, Gpu] = {}
    numbers = False
    for token in (each.strip() for each in chosen.split(",")):
        digits = token[: len(token) - len(token.lstrip("0123456789"))]
        if digits:
            numbers = True
            fitting = gpus[int(digits) : int(digits) + 1] if len(digits) < len(str(_MOST)) else ()
        else:
            uuid = parent_of(token) if token.startswith("MIG-") else token
            fitting = [gpu for gpu in gpus if uuid.startswith("GPU-") and gpu.uuid.startswith(uuid)]
        if len(fitting) != 1:
            break
        found[fitting[0].uuid] = fitting[0]
    alike = len(_capabilities(gpus)) == 1
    if found and numbers and len(found) < len(gpus) and not alike and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        return Visible(gpus, sure=False)  # CUDA counts the fastest first
    return Visible(list(found.values()))


def _nvml() -> Any:
    try:
        from ctypes import CDLL

        nvml = CDLL(_LIBRARY)
    except (ImportError, OSError):
        return None
    return nvml if hasattr(nvml, "nvmlInit_v2") and hasattr(nvml, "nvmlShutdown") else None


def _capabilities(gpus: Iterable[Gpu]) -> set[Capability]:
    return {gpu.capability for gpu in gpus}


def _gpus(nvml: Any) -> Iterator[Gpu]:
    """Yield the GPUs that this process may use; the driver counts them by their place on the bus, as its tools do."""
    from ctypes import byref, c_int, c_uint, c_void_p

    count = c_uint()
    if nvml.nvmlDeviceGetCount_v2(byref(count)) != 0:
        return
    for number in range(min(count.value, _MOST)):
        device, major, minor = c_void_p(), c_int(), c_int()
        if nvml.nvmlDeviceGetHandleByIndex_v2(c_uint(number), byref(device)) != 0:
            continue
        if nvml.nvmlDeviceGetCudaComputeCapability(device, byref(major), byref(minor)) != 0:
            continue
        name, uuid = (_text(function, device) for function in (nvml.nvmlDeviceGetName, nvml.nvmlDeviceGetUUID))
        divided = _is_divided(nvml, device)
        yield Gpu(number, name or "unknown", uuid or f"number {number}", (major.value, minor.value), divided=divided)


def _is_divided(nvml: Any, device: object) -> bool:
    """Say whether a GPU is used in instances (MIG); older drivers and GPUs know none."""
    from ctypes import byref, c_uint

    now, next_time = c_uint(), c_uint()
    asked = getattr(nvml, "nvmlDeviceGetMigMode", None)
    return asked is not None and asked(device, byref(now), byref(next_time)) == 0 and now.value == 1


def _parent(nvml: Any, instance: str) -> str:
    """Return the UUID of the GPU that an instance is part of, which older drivers have in its own: `MIG-GPU-.../1/0`."""
    from ctypes import byref, c_void_p

    if instance.startswith("MIG-GPU-"):
        return instance[4:].partition("/")[0]
    part, whole = c_void_p(), c_void_p()
    if nvml.nvmlDeviceGetHandleByUUID(instance.encode(errors="replace"), byref(part)) != 0:
        return ""
    if nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part, byref(whole)) != 0:
        return ""
    return _text(nvml.nvmlDeviceGetUUID, whole)


def _text(function: Any, device: object) -> str:
    from ctypes import c_uint, create_string_buffer

    text = create_string_buffer(_TEXT)
    return "" if function(device, text, c_uint(_TEXT)) != 0 else text.value.decode(errors="replace")
