"""NVIDIA's linker for code of fat binaries, nvJitLink, by ctypes: what it makes shows which entry it took. It needs no GPU.

Source of names and numbers: NVIDIA's nvJitLink.h.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_FATBIN = 4


class NvJitLink:
    """The library, which links one fat binary at a time."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def link(self, container: bytes, target: str) -> bytes | int:
        """Return the cubin that a container gives for a target such as `sm_80`, else the number of the error."""
        options = (ctypes.c_char_p * 1)(f"-arch={target}".encode())
        handle = ctypes.c_void_p()
        assert self._library.nvJitLinkCreate(ctypes.byref(handle), 1, options) == 0
        try:
            error = self._library.nvJitLinkAddData(handle, _FATBIN, container, ctypes.c_size_t(len(container)), b"container")
            return int(error or self._library.nvJitLinkComplete(handle)) or self._result(handle)
        finally:
            self._library.nvJitLinkDestroy(ctypes.byref(handle))

    def _result(self, handle: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        assert self._library.nvJitLinkGetLinkedCubinSize(handle, ctypes.byref(size)) == 0
        cubin = ctypes.create_string_buffer(size.value)
        assert self._library.nvJitLinkGetLinkedCubin(handle, cubin) == 0
        return cubin.raw
