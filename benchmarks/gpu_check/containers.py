"""Run in a process of its own: what the driver says of a library's first container, by each function that loads one, as a line of JSON.

python containers.py LIBRARY [--empty]

With --empty the container has nothing in it, as pruning leaves one of which nothing is kept. Libraries may expect the error for one
without code for the GPU (CUDA_ERROR_NO_BINARY_FOR_GPU): the driver has to give it for an empty one, too.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.reader import Reader

_SIZE_AT = 8


def main() -> None:
    container = first_container(Path(sys.argv[1]))
    if "--empty" in sys.argv:
        struct.pack_into("<Q", container, _SIZE_AT, 0)
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    code = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    code = code or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) or cuda.cuCtxSetCurrent(context)
    if code:
        sys.exit(f"CUDA error {code}")
    for name, code in codes(cuda, (ctypes.c_char * len(container)).from_buffer(container)):
        print(json.dumps({"name": name, "digest": f"CUDA error {code}"}), flush=True)


def first_container(library: Path) -> bytearray:
    """Return the first container that is not the CUDA runtime's own."""
    with Reader(library) as reader:
        found = next(each for each in elf_containers(reader, read_elf(reader)) if not each.is_pinned)
        return bytearray(reader.read(found.offset, found.end - found.offset, "container"))


def codes(cuda: ctypes.CDLL, container: ctypes.Array[ctypes.c_char]) -> Iterator[tuple[str, int]]:
    """Yield each function's name and what it returns (CUDA Driver API, "Module Management", "Library Management"); 0 is success."""
    module, library, nothing = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    for name in ("cuModuleLoadFatBinary", "cuModuleLoadData"):
        yield name, cuda[name](ctypes.byref(module), container)
    code = cuda.cuLibraryLoadData(ctypes.byref(library), container, nothing, nothing, 0, nothing, nothing, 0)
    yield "cuLibraryLoadData", code
    if not code:
        yield "cuLibraryGetModule", cuda.cuLibraryGetModule(ctypes.byref(module), library)


if __name__ == "__main__":
    main()
