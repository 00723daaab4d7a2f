from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.errors import ModelError, UnsoundResultError
from hatch_mlbundle.models.planes import choose_layout, encode
from hatch_mlbundle.models.weight_packing import BLOCK, Packed, check_packed, estimate, pack_file, signpost
from hatch_mlbundle.runtime import planes
from hatch_mlbundle.runtime.planes import LENGTH, decode
from hatch_mlbundle.runtime.signpost import is_signpost
from hatch_mlbundle.runtime.unpack import unpack

RANDOM = np.random.default_rng(1)
WEIGHTS = (RANDOM.standard_normal(1 << 18) * 0.05).astype("<f4")
BFLOAT = WEIGHTS.view("<u4") >> 16 << 16


def packed(path: Path, data: bytes, **options: int) -> tuple[Path, Packed]:
    """Pack bytes into `path.mlpack`."""
    path.write_bytes(data)
    target = path.with_name(f"{path.name}.mlpack")
    result = pack_file(path, target, **options)
    path.unlink()
    return target, result


def saved(result: Packed) -> float:
    return 100 - 100 * result.after / result.before


def round_trip(data: bytes) -> bytes:
    block = np.frombuffer(data, np.uint8)
    written = encode(block, choose_layout(block))
    assert LENGTH.unpack_from(written)[0] == len(written) - LENGTH.size <= len(data) + planes.MOST_BESIDE
    return bytes(decode(memoryview(written)[LENGTH.size :], len(data)))


@given(
    dtype=st.sampled_from(["<f2", "<f4", "<f8", "<i8", "<i4", "i1", "<u2"]),
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 6000),
    before=st.binary(max_size=9),
    behind=st.binary(max_size=9),
)
@settings(max_examples=150, deadline=None)
def test_numbers_of_any_type_at_any_place_come_back(dtype: str, seed: int, count: int, before: bytes, behind: bytes) -> None:
    numbers = np.random.default_rng(seed).standard_normal(count) * 100
    data = before + numbers.astype(dtype).tobytes() + behind
    assert round_trip(data) == data


@given(data=st.binary(max_size=400), times=st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_any_bytes_come_back(data: bytes, times: int) -> None:
    assert round_trip(data * times) == data * times


@given(data=st.binary(max_size=200), size=st.integers(0, 300), by_numpy=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_block_or_refused(data: bytes, size: int, by_numpy: bool) -> None:
    before = list(planes._found)
    planes._found[:] = [np if by_numpy else None]
    try:
        assert len(decode(memoryview(data), size)) == size
    except ValueError:
        pass
    finally:
        planes._found[:] = before


@given(place=st.integers(0, 4000), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_spoilt_block_is_another_or_refused(place: int, value: int) -> None:
    original = WEIGHTS[:1000].tobytes()
    block = np.frombuffer(original, np.uint8)
    written = bytearray(encode(block, choose_layout(block)))[LENGTH.size :]
    written[place % len(written)] = value
    with suppress(ValueError):
        assert len(decode(memoryview(written), len(original))) == len(original)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_every_payload_of_nan_comes_back(dtype: str) -> None:
    bits = dtype.replace("f", "u")
    numbers = RANDOM.standard_normal(5000).astype(dtype)
    numbers[::7] = np.nan
    raw = numbers.view(bits)
    raw[::7] |= RANDOM.integers(0, 2**16, len(raw[::7])).astype(bits) >> 7
    raw[3::11] ^= np.array(1 << (8 * raw.itemsize - 1), dtype=bits)
    data = raw.tobytes()
    assert np.isnan(np.frombuffer(data, dtype)).any()
    assert round_trip(data) == data


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_the_standard_library_alone_reads_the_same(width: int, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(offset) + WEIGHTS[:20_000].astype({1: "i1", 2: "<f2", 4: "<f4", 8: "<f8"}[width]).tobytes() + b"x" * 3
    block = np.frombuffer(data, np.uint8)
    written = memoryview(encode(block, choose_layout(block)))[LENGTH.size :]
    by_numpy = decode(written, len(data))
    monkeypatch.setattr(planes, "_found", [None])
    assert decode(written, len(data)) == by_numpy == data


@pytest.mark.parametrize(
    ("numbers", "layout", "least"),
    [
        (WEIGHTS, "4 turned", 16.0),
        (WEIGHTS.astype("<f2"), "2 turned", 13.0),
        ((WEIGHTS.view("<u4") >> 16).astype("<u2"), "2 turned", 32.0),
        (BFLOAT, "4 turned", 66.0),
        (WEIGHTS.astype("<f2").astype("<f4"), "4 turned", 50.0),
        (np.arange(1 << 17, dtype="<i8"), "8", 74.0),
        (np.clip(np.round(WEIGHTS * 800), -127, 127).astype("i1"), "1", 5.0),
    ],
    ids=["float32", "float16", "bfloat16", "bfloat16 in float32", "float16 in float32", "int64", "int8"],
)
def test_each_type_is_seen_by_its_bytes(tmp_path: Path, numbers: np.ndarray, layout: str, least: float) -> None:
    _, result = packed(tmp_path / "w", numbers.tobytes())
    assert set(result.layouts) == {layout}
    assert saved(result) > least


def test_low_halves_that_are_zero_take_nothing(tmp_path: Path) -> None:
    _, narrow = packed(tmp_path / "narrow", (BFLOAT >> 16).astype("<u2").tobytes())
    _, wide = packed(tmp_path / "wide", BFLOAT.tobytes())
    assert abs(wide.after - narrow.after) < 100


def test_nothing_is_gained_on_noise_and_little_is_lost(tmp_path: Path) -> None:
    _, result = packed(tmp_path / "noise", RANDOM.bytes(3 * BLOCK + 5))
    assert 0 < result.after - result.before < 200


@pytest.mark.parametrize("size", [0, 1, 7, 8, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
def test_files_of_any_size_come_back_and_say_their_hash(tmp_path: Path, size: int) -> None:
    data = WEIGHTS.tobytes()[:size] * (1 if size <= WEIGHTS.nbytes else 2)
    target, result = packed(tmp_path / "w", data)
    assert (result.before, result.after, result.sha256) == (len(data), target.stat().st_size, hashlib.sha256(data).hexdigest())
    check_packed(target, result.sha256)
    assert [Path(path).read_bytes() for path in unpack(target)] == [data]


def test_threads_change_no_byte(tmp_path: Path) -> None:
    data = WEIGHTS.tobytes() * 4
    files = [packed(tmp_path / f"w{workers}", data, workers=workers)[0].read_bytes() for workers in (1, 2, 5)]
    assert files[0] == files[1] == files[2]


def test_types_that_change_within_a_file(tmp_path: Path) -> None:
    data = b"".join([WEIGHTS.tobytes(), b"x", WEIGHTS.astype("<f2").tobytes(), bytes(2 * BLOCK), b"yz", WEIGHTS.tobytes()])
    target, result = packed(tmp_path / "w", data)
    assert saved(result) > 16
    check_packed(target, result.sha256)


def test_an_estimate_is_near(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(WEIGHTS.tobytes() * 3)
    found = estimate(path)
    result = pack_file(path, tmp_path / "w.mlpack")
    assert found.size == result.before
    assert abs(found.packed - result.after) < 0.01 * result.before
    assert result.after < found.deflated < result.before


def test_estimates_of_files_with_next_to_nothing_in_them(tmp_path: Path) -> None:
    for size in (0, 1, 9):
        (tmp_path / "w").write_bytes(bytes(size))
        assert estimate(tmp_path / "w").size == size


def test_what_no_reader_would_take_is_not_packed(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with path.open("wb") as stream:
        stream.truncate((1 << 26) + 1)
    with pytest.raises(ModelError, match="next to nothing"):
        pack_file(path, tmp_path / "w.mlpack")
    with path.open("wb") as stream:
        stream.truncate(1 << 24)
    check_packed(tmp_path / "v", pack_file(path, tmp_path / "v").sha256)


def test_a_packed_file_that_is_another_is_unsound(tmp_path: Path) -> None:
    target, result = packed(tmp_path / "w", WEIGHTS.tobytes())
    with pytest.raises(UnsoundResultError, match="something else"):
        check_packed(target, "00" * 32)
    data = bytearray(target.read_bytes())
    data[1000] ^= 1
    target.write_bytes(data)
    with pytest.raises(UnsoundResultError, match="does not unpack"):
        check_packed(target, result.sha256)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "x" * 200, "a\udc80\n.pt"])
def test_every_loader_refuses_the_signpost(tmp_path: Path, name: str) -> None:
    text = signpost(name)
    assert len(text) < 500
    assert text.count(b"\n") == (3 if "\n" in name else 2)
    assert struct.unpack_from("<Q", text)[0] > 2**60
    with pytest.raises(pickle.UnpicklingError):
        pickle.load(io.BytesIO(text))
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    (tmp_path / "m").write_bytes(text)
    assert is_signpost(tmp_path / "m")


def test_safetensors_refuses_the_signpost(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    (tmp_path / "m.safetensors").write_bytes(signpost("m.safetensors"))
    with pytest.raises(safetensors.SafetensorError), safetensors.safe_open(str(tmp_path / "m.safetensors"), "np"):
        pass


MEMORY = """
import resource, sys
from pathlib import Path
from hatch_mlbundle.models.weight_packing import check_packed, pack_file
from hatch_mlbundle.runtime.unpack import unpack
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
packed = path.with_name("w.mlpack")
check_packed(packed, pack_file(path, packed).sha256)
path.unlink()
unpack(packed)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory as Linux does")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with path.open("wb") as stream:
        for _ in range(200):
            stream.write(WEIGHTS.tobytes())
    assert path.stat().st_size > 200_000_000
    result = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 64_000_000
