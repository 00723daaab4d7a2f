from __future__ import annotations

import random
import struct
import subprocess
import time
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import fatbin as fatbin_module
from hatch_mlbundle.contents.binaries import ElfInspector
from tests.contents.inspecting import parts_of
from tests.elfsmith import Code, Part, build_elf, fatbin, need, offload_bundle

LTO, SPECIFIC, FAMILY = 0x10000, 0x100000, 0x200000
COMPRESSED, ZSTD = 0x2000, 0x8000


def library(folder: Path, data: bytes, name: str = ".nv_fatbin") -> Path:
    return build_elf(folder / "lib.so", [Part(".text", b"c" * 600, flags=2), Part(name, data)])


@pytest.mark.parametrize("section", [".nv_fatbin", "__nv_relfatbin"])
def test_code_is_told_by_architecture(tmp_path: Path, section: str) -> None:
    data = fatbin(
        Code(80, b"x" * 800),
        Code(90, b"x" * 900, flags=SPECIFIC),
        Code(100, b"x" * 1000, flags=FAMILY),
        Code(90, b"x" * 200, kind=1),
        Code(100, b"x" * 208, kind=1, flags=SPECIFIC | COMPRESSED),
        Code(75, b"x" * 300, kind=8, flags=LTO),
    )
    assert parts_of(library(tmp_path, data, section), "gpu") == {
        "sm_100f": 1064,
        "sm_90a": 904 + 64,
        "sm_80": 864,
        "lto_75 (LTO-IR)": 304 + 64,
        "compute_100a (PTX)": 272,
        "compute_90 (PTX)": 264,
        "(headers)": 16,
    }


def test_all_containers_count_and_add_up_to_the_section(tmp_path: Path) -> None:
    data = fatbin(Code(80, b"x" * 800)) * 2 + bytes(4000) + fatbin() + fatbin(Code(80, b"y" * 8), Code(86, b"z")) + bytes(1 << 21)
    parts = parts_of(library(tmp_path, data), "gpu")
    assert parts == {"(padding)": 4000 + (1 << 21), "sm_80": 2 * 864 + 72, "sm_86": 72, "(headers)": 4 * 16}
    assert sum(parts.values()) == len(data)


def test_compressed_code_counts_what_is_stored(tmp_path: Path) -> None:
    data = fatbin(Code(80, b"\x28\xb5\x2f\xfd" + b"x" * 96, flags=ZSTD), Code(86, b"x" * 48, flags=COMPRESSED))
    assert parts_of(library(tmp_path, data), "gpu") == {"sm_80": 168, "sm_86": 112, "(headers)": 16}


def test_code_in_both_sections_is_taken_together(tmp_path: Path) -> None:
    parts = [Part(name, fatbin(Code(80, b"x" * 80))) for name in (".nv_fatbin", "__nv_relfatbin")]
    assert parts_of(build_elf(tmp_path / "lib.so", parts), "gpu") == {"sm_80": 288, "(headers)": 32}


def test_kinds_and_architectures_that_are_not_known_are_other(tmp_path: Path) -> None:
    data = fatbin(Code(80, b"x" * 8, kind=64), Code(7, b"x" * 8), Code(2**32 - 1, b"x" * 8))
    assert parts_of(library(tmp_path, data), "gpu") == {"(other)": 3 * 72, "(headers)": 16}


def test_a_library_without_any_has_no_row(tmp_path: Path) -> None:
    assert parts_of(library(tmp_path, b"", ".nv_fatbin"), "gpu") is None
    assert parts_of(library(tmp_path, fatbin(Code(80, b"x")), ".rodata"), "gpu") is None


GOOD = fatbin(Code(80, b"x" * 800))
HOSTILE = {
    "another magic": b"\x01" + GOOD,
    "another version": fatbin(Code(80, b"x" * 800), version=2),
    "a header of nothing": fatbin(Code(80, b"x" * 800), header=0),
    "a huge header": fatbin(Code(80, b"x" * 800), header=65535),
    "a body beyond its section": fatbin(Code(80, b"x" * 800), size=10**6),
    "a body of 2^60": GOOD + fatbin(Code(80, b"x" * 800), size=2**60),
    "a body of 2^64 - 16": fatbin(Code(80, b"x" * 800), size=2**64 - 16),
    "a body cut within an entry": fatbin(Code(80, b"x" * 800), size=864 - 8),
    "a body cut within a header": fatbin(Code(80, b"x" * 800), size=20),
    "an entry of 2^60": fatbin(Code(80, b"x" * 800, size=2**60)),
    "an entry of 2^64 - 64, back to itself": fatbin(Code(80, b"x" * 800, size=2**64 - 64)),
    "an entry without a header": fatbin(Code(80, b"x" * 800, header=0)),
    "an entry with a huge header": fatbin(Code(80, b"x" * 800, header=2**32 - 1)),
    "cut off": GOOD[:-8],
    "a header cut off": GOOD + GOOD[:9],
    "one more byte": GOOD + b"\0" * 7 + b"x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_believed_gives_no_row(tmp_path: Path, name: str) -> None:
    assert parts_of(library(tmp_path, HOSTILE[name]), "gpu") is None


def test_damage_is_told_right_or_not_at_all(tmp_path: Path) -> None:
    numbers = random.Random(2)
    whole = fatbin(Code(80, b"x" * 64), Code(90, b"y" * 64)) * 2 + offload_bundle(
        {"host-x86_64--": b"", "hip-amdgcn-amd-amdhsa--gfx90a": b"c"}
    )
    for _ in range(80):
        data = bytearray(whole)
        for _ in range(numbers.randrange(1, 4)):
            data[numbers.randrange(len(data))] = numbers.choice([0, 1, 255, numbers.randrange(256)])
        found = parts_of(library(tmp_path, bytes(data[: numbers.randrange(len(data))])), "gpu")
        assert found is None or sum(found.values()) <= len(data)


def test_more_entries_than_any_real_library_has_give_no_row_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fatbin() * 5000
    assert parts_of(library(tmp_path, data), "gpu") == {"(headers)": len(data)}
    monkeypatch.setattr(fatbin_module, "MOST_ENTRIES", 4999)
    assert parts_of(library(tmp_path, data), "gpu") is None


def test_only_headers_are_read(tmp_path: Path) -> None:
    """A library of 100 GB, nearly all of it a hole."""
    path = library(tmp_path, fatbin(Code(80, b"", size=100 * 10**9), size=100 * 10**9 + 64))
    data = bytearray(path.read_bytes())
    (shoff,) = struct.unpack_from("<Q", data, 40)
    table = bytes(data[shoff:])
    start = struct.unpack_from("<Q", table, 2 * 64 + 24)[0]
    end = start + 16 + 64 + 100 * 10**9
    head, table = data[:shoff], bytearray(table)
    struct.pack_into("<Q", head, 40, end)
    struct.pack_into("<Q", table, 2 * 64 + 32, end - start)
    with path.open("wb") as stream:
        stream.write(head)
        stream.seek(end)
        stream.write(table)
    began = time.monotonic()
    gpu = next(each for each in ElfInspector().inspect(path) if each.view == "gpu")
    assert [(each.end - each.start, each.name) for each in gpu.extents] == [(16, "(headers)"), (100 * 10**9 + 64, "sm_80")]
    assert time.monotonic() - began < 1


@pytest.mark.slow
def test_what_nvcc_makes_has_the_names_that_it_was_asked_for(tmp_path: Path) -> None:
    need("nvcc", "gcc")
    (tmp_path / "k.cu").write_text("__global__ void k(float *a) { a[threadIdx.x] *= 2; }\n")
    asked = {"80": "sm_80,lto_80", "90a": "sm_90a,compute_90a", "89": "lto_89"}
    code = [word for arch, names in asked.items() for word in ("-gencode", f"arch=compute_{arch},code=[{names}]")]
    command = ["nvcc", "-dc", "-Xcompiler", "-fPIC", *code, "-o", "k.o", "k.cu"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    found = parts_of(tmp_path / "k.o", "gpu")
    assert found is not None
    assert set(found) == {"sm_80", "lto_80 (LTO-IR)", "sm_90a", "compute_90a (PTX)", "lto_89 (LTO-IR)", "(headers)"}


HIP = "hipv4-amdgcn-amd-amdhsa--"


def test_amd_code_is_told_by_architecture(tmp_path: Path) -> None:
    one = offload_bundle({"host-x86_64-unknown-linux--": b"", f"{HIP}gfx90a:xnack-": b"c" * 5000, f"{HIP}gfx1100": b"c" * 300, "odd": b"x"})
    data = one + bytes(-len(one) % 4096) + offload_bundle({f"{HIP}gfx90a:xnack+": b"d" * 100, f"{HIP}gfx9-4-generic": b"g" * 50})
    parts = parts_of(library(tmp_path, data, ".hip_fatbin"), "gpu")
    assert parts is not None
    assert {name: size for name, size in parts.items() if name[0] != "("} == {"gfx90a": 5100, "gfx1100": 300, "gfx9-4-generic": 50}
    assert parts["(other)"] == 1
    assert sum(parts.values()) == len(data)


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [(0, "<B", 1), (24, "<Q", 0), (24, "<Q", 2**60), (32, "<Q", 2**60), (40, "<Q", 2**60), (48, "<Q", 2**60), (48, "<Q", 900)],
)
def test_offload_bundles_that_cannot_be_believed_give_no_row(tmp_path: Path, at: int, form: str, value: int) -> None:
    data = bytearray(offload_bundle({f"{HIP}gfx90a": b"c" * 500}))
    struct.pack_into(form, data, at, value)
    assert parts_of(library(tmp_path, bytes(data), ".hip_fatbin"), "gpu") is None
