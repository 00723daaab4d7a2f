from __future__ import annotations

import os
import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images import gpu_headers
from hatch_mlbundle.bundles.images import layer as layer_module
from hatch_mlbundle.bundles.images.streamed_contents import watcher
from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Kind
from tests.bundles.test_image import scan
from tests.contents.inspecting import parts_of
from tests.elfsmith import Code, Part, build_elf, fatbin, offload_bundle
from tests.imagesmith import layer, oci_layout

ENTRY = 64


def told(data: bytes, name: str = "lib.so", step: int = 1 << 20) -> dict[str, dict[str, int]]:
    watch = watcher(name, identify(name, data[:HEAD]), data[:HEAD], len(data))
    assert watch is not None
    for start in range(0, len(data), step):
        watch.feed(data[start : start + step])
    return {view: dict(parts) for view, parts in watch.told().parts.items()}


def large_library(folder: Path, data: bytes) -> Path:
    """Return a library too large to be held as a whole."""
    return build_elf(folder / "lib.so", [Part(".text", os.urandom(400_000), flags=2), Part(".nv_fatbin", data)])


@pytest.mark.parametrize(
    "before",
    [
        b"",
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1 << 60),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, (1 << 64) - 1),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 0, 0),
        struct.pack("<IHHQ", 0xBA55ED50, 2, 16, 0),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 8) + b"x" * 8,
        b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", 1 << 40),
        b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<QQQQ", 1, 0, 1 << 60, 10) + b"x" * 10 + bytes(6),
    ],
)
def test_what_looks_like_gpu_code_in_other_sections_hides_none(tmp_path: Path, before: bytes) -> None:
    code = fatbin(Code(80, b"x" * 800), Code(90, b"y" * 80, kind=1))
    text = before + b"c" * 400_000
    path = build_elf(tmp_path / "lib.so", [Part(".text", text, flags=2), Part(".nv_fatbin", code + bytes(64) + code)])
    assert parts_of(path, "gpu") == {"sm_80": 2 * 864, "compute_90 (PTX)": 2 * 144, "(padding)": 64, "(headers)": 32}


def test_gpu_code_of_amd_in_a_large_library(tmp_path: Path) -> None:
    bundle = offload_bundle({"host-x86_64-unknown-linux--": b"", "hipv4-amdgcn-amd-amdhsa--gfx90a:xnack-": b"g" * 5000})
    path = build_elf(
        tmp_path / "lib.so", [Part(".text", os.urandom(400_000)), Part(".hip_fatbin", bundle + bytes(-len(bundle) % 4096) + bundle)]
    )
    parts = parts_of(path, "gpu")
    assert parts is not None
    assert parts["gfx90a"] == 10_000


def test_damage_anywhere_is_told_as_of_a_file_or_not_at_all(tmp_path: Path) -> None:
    code = fatbin(*(Code(arch, b"x" * 900) for arch in (50, 60, 70, 80, 90))) * 3
    whole = large_library(tmp_path, code).read_bytes()
    expected, chance = told(whole), random.Random(7)
    assert sum(expected["gpu"].values()) == len(code)
    start = whole.index(code)
    for _ in range(150):
        data = bytearray(whole)
        data[chance.randrange(start, start + len(code))] ^= 1 << chance.randrange(8)
        assert set(told(bytes(data))) <= {"gpu", "sections"}
        for view, parts in told(bytes(data[: chance.randrange(len(data))])).items():
            assert view == "sections" or sum(parts.values()) <= len(code)


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_pieces_of_any_size_tell_the_same(tmp_path: Path, step: int) -> None:
    code = fatbin(Code(80, b"x" * 800)) + bytes(100) + bytes(4) + fatbin(Code(86, b"z" * 8))
    data = build_elf(tmp_path / "lib.so", [Part(".nv_fatbin", code), Part(".x", b"x" * 99)]).read_bytes()
    assert told(data, step=step) == told(data)
    assert set(told(data)["gpu"]) == {"sm_80", "sm_86", "(padding)", "(headers)"}


def test_headers_without_end_take_no_memory_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_headers, "MOST_HEADERS", 1000)
    parts = [Part(".data", os.urandom(13_000_000)), Part(".nv_fatbin", fatbin() * 200_000), Part(".text", os.urandom(9_000_000))]
    data = build_elf(tmp_path / "lib.so", parts).read_bytes()
    began = time.monotonic()
    tracemalloc.start()
    assert told(data) == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.safetensors", struct.pack("<Q", 1 << 62)),
        ("a.safetensors", struct.pack("<Q", 20) + b'{"w":'),
        ("a.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 1 << 40)),
        ("a.gguf", b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 62)),
        ("a.safetensors.mlbundle", b"MLBUNDLE" + bytes(100)),
        ("a.so", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\xff" * 48),
    ],
)
def test_headers_of_absurd_sizes_hold_little_and_tell_nothing(name: str, head: bytes) -> None:
    data = head + bytes(1000)
    size = 1 << 40
    watch = watcher(name, identify(name, data), data[:HEAD], size)
    if watch is None:
        return
    watch.feed(data)
    tracemalloc.start()
    for _ in range(64):
        watch.feed(bytes(1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000
    assert watch.told().parts == {}


def test_what_is_told_of_all_files_together_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = large_library(tmp_path, fatbin(Code(80, b"x"))).read_bytes()
    image = oci_layout(tmp_path / "image", [layer(("a.so", library)), layer(("b.so", library))])
    assert {row.path for row in scan(image).contents} == {"a.so", "b.so"}
    monkeypatch.setattr(layer_module, "_MOST_PARTS", 10)
    assert scan(image).contents == ()  # whichever of the layers is read first: not one of two


def test_headers_that_would_have_much_held_have_not(tmp_path: Path) -> None:
    """A thousand dynamic sections at one place, or names of libraries all over the file, take no more memory than those of any file."""
    size, place = 20 << 20, 14 << 20
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1000, 64, 0, 0)
    dynamics = header + b"".join(segment(2, place, 1 << 20) for _ in range(1000))
    entries = struct.pack("<QQQQ", 5, 0, 10, size) + b"".join(struct.pack("<QQ", 1, at) for at in range(13 << 20, size, 5000))
    names = (header + segment(1, 0, size) + segment(2, 1 << 17, len(entries))).ljust(1 << 17, b"\0") + entries
    for start in (dynamics, names):
        watch = watcher("lib.so", Kind.ELF, start[:HEAD], size)
        assert watch is not None
        tracemalloc.start()
        try:
            for at in range(0, size, 1 << 20):
                watch.feed(start[at : at + (1 << 20)].ljust(1 << 20, b"\0"))
            watch.told()
            assert tracemalloc.get_traced_memory()[1] < 45 << 20
        finally:
            tracemalloc.stop()


def segment(kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 6, offset, offset, offset, size, size, 8)
