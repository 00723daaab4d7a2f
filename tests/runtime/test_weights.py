"""What comes out of packed files, and what of damaged ones."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hatch_mlbundle.models.packed import PackedTensor
from hatch_mlbundle.runtime import decoding
from hatch_mlbundle.runtime.weights import PackedFile, is_signpost, load_file
from tests.packsmith import Packed, cast, int8_group, int8_row, raw, samples, sparse, tied, write_packed, write_pair


def same_bits(found: Any, expected: Any) -> bool:
    return bool(found.shape == expected.shape and found.tobytes() == expected.tobytes())


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tensors of a few rows be decoded in many pieces."""
    monkeypatch.setattr(decoding, "PIECE", 40)
    monkeypatch.setattr(decoding._pieces, "__defaults__", (40,))


@pytest.mark.parametrize("packed", samples(), ids=lambda each: each.tensor.name)
def test_each_encoding_gives_what_was_stored(tmp_path: Path, packed: Packed) -> None:
    with PackedFile(write_packed(tmp_path / "w", packed)) as file:
        assert file.keys() == [packed.tensor.name]
        assert file.shape(packed.tensor.name) == packed.tensor.shape
        assert file.dtype(packed.tensor.name) == packed.tensor.dtype
        assert same_bits(file.read(packed.tensor.name), packed.expected)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("packed", samples(), ids=lambda each: each.tensor.name)
def test_pieces_make_no_difference(tmp_path: Path, packed: Packed) -> None:
    with PackedFile(write_packed(tmp_path / "w", packed)) as file:
        assert same_bits(file.read(packed.tensor.name), packed.expected)


@pytest.mark.parametrize("rows", [slice(3, 9), slice(None, 1), slice(5, None), slice(-2, None), slice(4, 4), slice(9, 3), slice(2, 999)])
@pytest.mark.parametrize("packed", [each for each in samples() if len(each.tensor.shape) > 1], ids=lambda each: each.tensor.name)
def test_some_rows_are_those_of_the_whole(tmp_path: Path, packed: Packed, rows: slice) -> None:
    with PackedFile(write_packed(tmp_path / "w", packed)) as file:
        assert same_bits(file.read(packed.tensor.name, rows), packed.expected[rows])


def test_a_row_is_decoded_without_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = int8_row("embedding", np.ones((5000, 8), np.float32))
    with PackedFile(write_packed(tmp_path / "w", packed)) as file:
        lengths: list[int] = []
        read_some = file._read_some
        monkeypatch.setattr(file, "_read_some", lambda offset, view: lengths.append(len(view)) or read_some(offset, view))
        file.read("embedding", slice(4000, 4001))
    assert sum(lengths) == 8 + 4


def test_a_slice_of_a_sparse_tensor_begins_at_the_right_element(tmp_path: Path) -> None:
    array = np.zeros((1000, 3), np.float32)
    array[::7, 1] = np.arange(1, 144)
    with PackedFile(write_packed(tmp_path / "w", sparse("s", array))) as file:
        assert same_bits(file.read("s", slice(501, 803)), array[501:803])


def test_steps_and_rows_of_a_scalar_are_refused(tmp_path: Path) -> None:
    with PackedFile(write_packed(tmp_path / "w", raw("a", np.zeros((4, 2))), raw("scalar", np.float32(1)))) as file:
        for name, rows in (("a", slice(None, None, 2)), ("a", slice(None, None, -1)), ("scalar", slice(0, 1))):
            with pytest.raises(ValueError, match="cannot be read of a tensor of shape"):
                file.read(name, rows)
        with pytest.raises(KeyError):
            file.read("b")


def test_bfloat16_is_rounded_as_ml_dtypes_does(tmp_path: Path) -> None:
    with np.errstate(all="ignore"):
        halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
        values = np.concatenate([halves, np.float32([3.4e38, -3.4e38, 1e-40, np.inf, -np.inf])])
        packed = cast("a", values, dtype="BF16", stored="F32")
    with PackedFile(write_packed(tmp_path / "w", packed)) as file:
        found = file.read("a").view(ml_dtypes.bfloat16)
    numbers = ~np.isnan(values)
    assert same_bits(found[numbers], packed.expected[numbers])
    assert np.isnan(found[~numbers].astype(np.float32)).all()


def test_what_is_no_number_stays_none_without_a_warning(tmp_path: Path) -> None:
    values = np.array([0x7C01, 0x7E00, 0xFFFF, 0x7C00], np.uint16).view(np.float16)
    packed = Packed(PackedTensor("a", "F32", (4,), "cast", "F16"), {"data": values.tobytes()})
    with PackedFile(write_packed(tmp_path / "w", packed)) as file:
        found = file.read("a")
    assert np.isnan(found[:3]).all()
    assert found[3] == np.inf


def test_tied_tensors_share_their_bytes(tmp_path: Path) -> None:
    first = int8_row("embedding", np.random.default_rng(2).normal(size=(64, 64)))
    path = write_packed(tmp_path / "w", first, tied("head", first), metadata={"format": "pt"})
    assert path.stat().st_size < 2 * 64 * 64
    with PackedFile(path) as file:
        assert file.metadata() == {"format": "pt"}
        assert same_bits(file.read("head"), file.read("embedding"))


def test_a_file_of_no_tensors_is_empty(tmp_path: Path) -> None:
    assert load_file(write_packed(tmp_path / "w")) == {}


def test_the_file_beside_a_signpost_is_loaded(tmp_path: Path) -> None:
    packed = samples()
    path = write_pair(tmp_path / "model.safetensors", *packed)
    found = load_file(path)
    assert list(found) == [each.tensor.name for each in packed]
    assert all(same_bits(found[each.tensor.name], each.expected) for each in packed)


def test_what_is_a_signpost(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "model.safetensors", raw("a", [1.0]))
    assert is_signpost(path)
    assert not is_signpost(f"{path}.mlbundle")
    assert not is_signpost(tmp_path / "nowhere")
    assert not is_signpost(tmp_path)


def test_nothing_can_be_read_of_a_closed_file(tmp_path: Path) -> None:
    file = PackedFile(write_packed(tmp_path / "w", raw("a", [1.0])))
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read("a")


def test_without_reading_at_a_place_threads_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    packed = samples()
    with PackedFile(write_packed(tmp_path / "w", *packed)) as file:
        assert all(same_bits(file.read(each.tensor.name), each.expected) for each in packed)


def test_a_header_is_read_without_numpy_and_decoding_says_what_is_missing(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "w", raw("a", [1.0]))
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from hatch_mlbundle.runtime.weights import PackedFile\n"
        f"file = PackedFile({str(path)!r}); print(file.keys(), file.shape('a'))\n"
        "try:\n    file.read('a')\nexcept ImportError as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines()[0] == "['a'] (1,)"
    assert result.stdout.splitlines()[1].startswith("packed weights need numpy")


def test_memory_for_a_large_tensor_is_its_own_and_a_little_more(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "w", int8_group("a", np.ones((4096, 4096), np.float32)))
    script = (
        "import resource, numpy\n"
        "from hatch_mlbundle.runtime.weights import PackedFile\nimport hatch_mlbundle.runtime.decoding\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"array = PackedFile({str(path)!r}).read('a')\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - array.nbytes)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(result.stdout) < 8_000_000


# Damaged and hostile files


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack_from("<Q", data, 16)[0]
    return json.loads(data[24 : 24 + length]), data[24 + length :]


def with_header(header: Any, parts: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-(24 + len(text)) % 64)
    return b"MLBUNDLE" + struct.pack("<IIQ", 1, 0, len(text)) + text + parts


def good(tmp_path: Path) -> bytes:
    weights = np.random.default_rng(3).normal(size=(6, 40)).astype(np.float32)
    pruned = np.where(weights > 1, weights, 0)
    return write_packed(
        tmp_path / "good", raw("r", weights), int8_row("q", weights), int8_group("g", weights), sparse("s", pruned)
    ).read_bytes()


def refused(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        load_file(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = good(tmp_path)
    for length in [*range(64), *range(64, len(data), 97), len(data) - 1]:
        refused(tmp_path, data[:length], "is no packed file to be trusted")


def test_bytes_added_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, good(tmp_path) + b"\0", "was cut or added to")


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (0, b"MLBUNDLF", "does not begin as"),
        (8, struct.pack("<I", 2), "version 2.*update hatch-mlbundle"),
        (8, struct.pack("<I", 0), "version 0"),
        (12, struct.pack("<I", 1), "version 1"),
        (16, struct.pack("<Q", 1 << 60), "cannot have"),
        (16, struct.pack("<Q", 0), "cannot have|no JSON"),
        (16, struct.pack("<Q", 41), "cannot have"),
        (24, b"\xff", "no JSON"),
    ],
)
def test_a_wrong_beginning_is_refused(tmp_path: Path, at: int, value: bytes, match: str) -> None:
    data = bytearray(good(tmp_path))
    data[at : at + len(value)] = value
    refused(tmp_path, bytes(data), match)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"[]", "not just metadata and tensors"),
        (b'{"metadata": {}}', "not just metadata and tensors"),
        (b'{"metadata": {}, "tensors": {}, "more": 1}', "not just metadata and tensors"),
        (b'{"metadata": {}, "tensors": []}', "not just metadata and tensors"),
        (b'{"metadata": {"a": 1}, "tensors": {}}', "no table of texts"),
        (b'{"metadata": 7, "tensors": {}}', "no table of texts"),
        (b'{"metadata": {}, "metadata": {}, "tensors": {}}', "occurs twice"),
        (b'{"metadata": {}, "tensors": {"a": 1}}', "not just dtype"),
        (b'{"metadata": {}, "tensors": {"a": NaN}}', "NaN is no number"),
        (b"[" * 100_000, "no JSON"),
        (b"{", "no JSON"),
    ],
)
def test_a_header_of_another_form_is_refused(tmp_path: Path, header: bytes, match: str) -> None:
    refused(tmp_path, with_header(header, b""), match)


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tensor: tensor.__setitem__(key, value)


HUGE = 1 << 62
CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "a missing key": ("r", lambda tensor: tensor.pop("dtype"), "not just"),
    "a key too many": ("r", change("more", 1), "not just"),
    "a dtype that is none": ("r", change("dtype", "F33"), "'F33'.*unknown"),
    "a dtype of another type": ("r", change("dtype", 3), "wrong type"),
    "another dtype": ("r", change("dtype", "F16"), "cannot be stored"),
    "an encoding that is none": ("r", change("encoding", "zip"), "'zip' is unknown"),
    "integers as they are": ("q", change("encoding", "raw"), "cannot be stored"),
    "integers of integers": ("q", change("dtype", "I64"), "cannot be stored"),
    "a shape that is none": ("r", change("shape", "x"), "wrong type"),
    "a negative shape": ("r", change("shape", [-6, -40]), "shape is none"),
    "a fractional shape": ("r", change("shape", [6.0, 40]), "shape is none"),
    "a shape of truths": ("r", change("shape", [True, 240]), "shape is none"),
    "a huge shape": ("r", change("shape", [HUGE, 4]), "shape is none"),
    "a huge product": ("r", change("shape", [1 << 40, 1 << 40, 0]), "larger than any"),
    "many dimensions": ("r", change("shape", [1] * 100), "shape is none"),
    "a larger shape": ("r", change("shape", [7, 40]), "has not 1,120 bytes"),
    "a larger shape of integers": ("q", change("shape", [6, 41]), "has not 246 bytes"),
    "more rows of scales": ("q", change("shape", [12, 20]), "part scale has not 48 bytes"),
    "no parts": ("r", change("parts", {}), "parts are not data"),
    "parts too many": ("r", change("parts", {"data": [0, 960], "scale": [0, 960]}), "parts are not data"),
    "a part that is none": ("r", change("parts", {"data": [0]}), "not in the file"),
    "a part outside": ("r", change("parts", {"data": [0, HUGE]}), "not in the file"),
    "a part before": ("r", change("parts", {"data": [-960, 0]}), "not in the file"),
    "a part turned round": ("r", change("parts", {"data": [960, 0]}), "has not 960 bytes"),
    "no group": ("g", change("group", 0), "groups have no size"),
    "a group of another size": ("g", change("group", 8), "has not 120 bytes"),
    "a huge group": ("g", change("group", HUGE), "groups have no size"),
    "a group of text": ("g", change("group", "32"), "groups have no size"),
    "scales of another type": ("g", change("scale_dtype", "F16"), "has not 24 bytes"),
    "scales of a strange type": ("g", change("scale_dtype", "I8"), "its scales are 'I8'"),
    "fewer elements than none": ("s", lambda tensor: tensor["parts"]["data"].reverse(), "fewer than none"),
    "more elements than there are": ("s", change("shape", [1]), "more elements than it has"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_tensor_that_cannot_be_so_is_refused(tmp_path: Path, what: str) -> None:
    name, edit, match = CHANGES[what]
    header, parts = header_of(good(tmp_path))
    edit(header["tensors"][name])
    refused(tmp_path, with_header(header, parts), match)


def test_parts_that_overlap_or_leave_holes_are_refused(tmp_path: Path) -> None:
    header, parts = header_of(good(tmp_path))
    header["tensors"]["g"]["parts"]["data"] = [each - 64 for each in header["tensors"]["g"]["parts"]["data"]]
    refused(tmp_path, with_header(header, parts), "overlap, or leave a hole")
    header, parts = header_of(good(tmp_path))
    del header["tensors"]["q"]
    refused(tmp_path, with_header(header, parts), "overlap, or leave a hole")
    header, parts = header_of(good(tmp_path))
    header["tensors"]["q"]["parts"]["scale"] = header["tensors"]["q"]["parts"]["data"]
    refused(tmp_path, with_header(header, parts), "scale has not 24 bytes")


@pytest.mark.parametrize("flip", [0, 100, 239])
def test_a_bitmap_that_does_not_fit_is_refused(tmp_path: Path, flip: int) -> None:
    array = np.zeros((6, 39), np.float32)
    array[1] = 1
    data = bytearray(write_packed(tmp_path / "w", sparse("s", array)).read_bytes())
    header, _ = header_of(bytes(data))
    first = 24 + struct.unpack_from("<Q", data, 16)[0] + header["tensors"]["s"]["parts"]["bitmap"][0]
    data[first + flip // 8] ^= 1 << flip % 8  # 239 is behind the last element
    refused(tmp_path, bytes(data), "bitmap of a sparse tensor does not fit")


def test_a_file_cut_after_it_was_opened_gives_no_garbage(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "w", int8_row("q", np.ones((64, 64), np.float32)))
    with PackedFile(path) as file:
        with path.open("r+b") as stream:
            stream.truncate(1000)
        with pytest.raises(ValueError, match="ends before its time"):
            file.read("q")


def test_whatever_is_changed_in_a_file_it_is_a_value_error_or_loads(tmp_path: Path) -> None:
    data = good(tmp_path)
    length = 24 + struct.unpack_from("<Q", data, 16)[0]
    random = np.random.default_rng(11)
    outcomes = set()
    for _ in range(1500):
        bad = bytearray(data)
        for place in random.integers(0, length, random.integers(1, 4)):
            bad[place] = random.integers(0, 256) if random.random() < 0.5 else b'0123456789[]{},:" '[random.integers(0, 18)]
        (tmp_path / "bad").write_bytes(bad)
        try:
            load_file(tmp_path / "bad")
            outcomes.add(0)
        except ValueError as error:
            outcomes.add(len(str(error).splitlines()))
    assert outcomes == {0, 1}
