from __future__ import annotations

import random
import struct
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hatch_mlbundle.contents.gguf import TYPES
from hatch_mlbundle.contents.models import LARGEST_HEADER
from hatch_mlbundle.models.packed import PackedTensor, plan_packed, signpost
from tests.contents.inspecting import parts_of
from tests.models import torchsmith
from tests.models.safesmith import file_with, raw_file, weights, write_tensors
from tests.models.torchsmith import Storage, numbers, ordered, parameter, tensor, view

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "a": weights(30, 40),
    "b": weights(10).astype(np.float16),
    "c": weights(7, 3).astype(ml_dtypes.bfloat16),
    "d": np.arange(9, dtype=np.int8),
    "e": weights(5),
    "empty": weights(0, 4),
}


def tensors_of(path: Path) -> dict[str, int] | None:
    return parts_of(path, "tensors")


def test_safetensors_by_dtype_as_the_library_reads_them(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors")
    path = write_tensors(tmp_path / "model.safetensors", ARRAYS, {"format": "pt"})
    names = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}
    sizes: Counter[str] = Counter()
    with library.safe_open(path, framework="numpy") as opened:
        for name in opened.keys():  # noqa: SIM118
            array = opened.get_tensor(name)
            sizes[names[array.dtype.name]] += array.nbytes
    found = tensors_of(path)
    assert found is not None
    headers = found.pop("(headers)")
    assert found == {name: size for name, size in sizes.items() if size}
    assert headers == path.stat().st_size - sum(sizes.values())


HOSTILE = {
    "empty": b"",
    "cut off": b"\x09\0\0\0\0\0\0\0{}",
    "a header of 2^60": struct.pack("<Q", 2**60) + b"{}",
    "a header of 90 MB": struct.pack("<Q", 90 * 10**6) + b"{}",
    "no JSON": struct.pack("<Q", 2) + b"[[",
    "nested": struct.pack("<Q", 200_000) + b"[" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_safetensors_that_cannot_be_believed_have_no_row(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(HOSTILE[name])
    assert tensors_of(tmp_path / "model.safetensors") is None


@pytest.mark.parametrize("offsets", [[0, 16], [4, 12], [0, 2**60], [8, 0]])
def test_tensors_that_do_not_fit_their_file_have_no_row(tmp_path: Path, offsets: list[int]) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": offsets}
    assert tensors_of(file_with(tmp_path / "model.safetensors", {"a": entry}, b"12345678")) is None


def test_a_header_that_is_larger_than_any_real_one_is_not_parsed(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "model.safetensors", b"{}".ljust(LARGEST_HEADER + 1))
    assert tensors_of(path) is None


def test_a_hostile_header_takes_little_memory(tmp_path: Path) -> None:
    """Each list of three bytes takes fifty or more."""
    path = raw_file(tmp_path / "model.safetensors", b'{"a":[' + b"[]," * (10 << 20) + b"[]]}")
    tracemalloc.start()
    assert tensors_of(path) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_packed_files_by_the_dtype_that_is_stored(tmp_path: Path) -> None:
    layout = plan_packed(
        [
            PackedTensor("rows", "F32", (10, 30), "int8-row", "I8"),
            PackedTensor("groups", "F32", (4, 64), "int8-group", "I8", group=32, scale_dtype="F16"),
            PackedTensor("half", "F32", (100,), "cast", "F16"),
            PackedTensor("few", "F32", (64,), "sparse", "F32", nnz=3),
            PackedTensor("plain", "I64", (5,), "raw", "I64"),
            PackedTensor("tied", "F32", (100,), "cast", "F16", same_as="half"),
        ],
        {},
    )
    path = tmp_path / "model.safetensors.mlbundle"
    path.write_bytes(layout.header.ljust(layout.size, b"\0"))
    found = tensors_of(path)
    assert found is not None
    assert found.pop("(padding)") < 8 * 64
    assert found == {"I8": 300 + 256, "F16": 200 + 16, "F32": 40 + 12, "I64": 40, "(other)": 8, "(headers)": len(layout.header)}


def test_a_signpost_and_a_damaged_packed_file_have_no_row(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(signpost("model.safetensors"))
    layout = plan_packed([PackedTensor("half", "F32", (100,), "cast", "F16")], {})
    (tmp_path / "model.safetensors.mlbundle").write_bytes(layout.header.ljust(layout.size - 1, b"\0"))
    (tmp_path / "other.mlbundle").write_bytes(b"something else")
    for name in ("model.safetensors", "model.safetensors.mlbundle", "other.mlbundle"):
        assert tensors_of(tmp_path / name) is None


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "MODEL.PT"])
def test_torch_files_by_dtype(tmp_path: Path, name: str) -> None:
    shared = Storage(numbers(100))
    half = Storage(bytes(60), "float16")
    value = {
        "model": ordered({"a": tensor(10, 20), "b": parameter(view(shared, (50,))), "c": view(shared, (5, 2), offset=7)}),
        "h": view(half, (30,)),
    }
    path = torchsmith.save(tmp_path / name, value)
    assert tensors_of(path) == {"F32": 800 + 400, "F16": 60, "(other)": path.stat().st_size - 1260}


def test_a_file_that_torch_wrote(tmp_path: Path) -> None:
    source = Path(torchsmith.__file__).with_name("checkpoint_of_torch.pt")
    (tmp_path / "model.pt").write_bytes(source.read_bytes())
    found = tensors_of(tmp_path / "model.pt")
    assert found is not None
    assert found["F32"] > 0


def test_nothing_of_a_torch_file_is_executed(tmp_path: Path) -> None:
    evil = torchsmith.Made(torchsmith.Global("os", "mkdir"), (str(tmp_path / "made"),))
    path = torchsmith.save(tmp_path / "model.pt", {"a": tensor(3), "evil": evil})
    assert tensors_of(path) is None
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"just numbers" * 50, bytes(1000), b"\x80\x02."])
def test_other_files_of_the_same_name_have_no_row(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.bin").write_bytes(content)
    assert tensors_of(tmp_path / "data.bin") is None


def gguf(
    path: Path,
    tensors: list[tuple[str, tuple[int, ...], int]],
    *,
    alignment: int | None = None,
    version: int = 3,
    extra: bytes = b"",
    entries: int = 0,
) -> Path:
    """Write a GGUF file: a vocabulary, and tensors (name, shape, type) one after another, aligned."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    values = [text("general.name") + struct.pack("<I", 8) + text("a model"), text("x.numbers") + struct.pack("<IIQ", 9, 5, 4) + bytes(16)]
    values.append(text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 1000) + b"".join(text(f"token {number}") for number in range(1000)))
    values += [text("general.alignment") + struct.pack("<II", 4, alignment)] if alignment else []
    unit = alignment or 32
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values) + entries) + b"".join(values) + extra
    offset = 0
    for name, shape, kind in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        _, elements, size = TYPES.get(kind, ("", 1, 1))
        offset += -(-int(np.prod(shape)) // elements * size // unit) * unit
    path.write_bytes(head + bytes(-len(head) % unit) + bytes(offset))
    return path


MATRIX = [("q", (256, 40), 12), ("norm", (40,), 0), ("k", (512, 3), 14), ("q2", (256, 1), 12)]


@pytest.mark.parametrize(("alignment", "version"), [(None, 3), (64, 3), (None, 2)])
def test_gguf_files_by_type(tmp_path: Path, alignment: int | None, version: int) -> None:
    found = tensors_of(gguf(tmp_path / "model.gguf", MATRIX, alignment=alignment, version=version))
    assert found is not None
    assert {name: size for name, size in found.items() if name[0] != "("} == {"Q4_K": 40 * 144 + 144, "Q6_K": 6 * 210, "F32": 160}
    assert found["(headers)"] > 1000


@pytest.mark.parametrize(
    "settings",
    [
        {"tensors": [("a", (3,), 99)]},
        {"tensors": [("a", (257,), 12)]},
        {"tensors": [("a", (2**40, 2**40), 0)]},
        {"tensors": MATRIX, "version": 1},
        {"tensors": MATRIX, "version": 0x03000000},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q17sII", 17, b"general.alignment", 4, 2**31)},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q17sII", 17, b"general.alignment", 4, 0)},
        {"tensors": MATRIX, "entries": 2**40},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 2**60)},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 2**60)},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q1sIIQ", 1, b"k", 9, 4, 2**60)},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q1sIQ", 1, b"k", 8, 2**60)},
        {"tensors": MATRIX, "entries": 1, "extra": struct.pack("<Q1sI", 1, b"k", 77)},
    ],
)
def test_gguf_files_that_cannot_be_believed_have_no_row(tmp_path: Path, settings: dict[str, Any]) -> None:
    if settings["tensors"][0][1] == (2**40, 2**40):
        path = gguf(tmp_path / "model.gguf", [("a", (3,), 0)])
        path.write_bytes(path.read_bytes().replace(struct.pack("<IQ", 1, 3), struct.pack("<IQ", 1, 2**61)))
    else:
        path = gguf(tmp_path / "model.gguf", **settings)
    assert tensors_of(path) is None


def test_damage_to_a_gguf_file_is_told_right_or_not_at_all(tmp_path: Path) -> None:
    whole = gguf(tmp_path / "model.gguf", MATRIX).read_bytes()
    chance = random.Random(3)
    for _ in range(60):
        data = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.2 else whole)
        for _ in range(2):
            data[chance.randrange(len(data))] = chance.randrange(256) if data else 0
        (tmp_path / "model.gguf").write_bytes(data)
        tensors_of(tmp_path / "model.gguf")  # which sees that parts add up
