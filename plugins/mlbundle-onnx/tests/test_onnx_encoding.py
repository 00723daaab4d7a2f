"""Numbers in fewer bytes, and what is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlbundle_onnx import encoding
from mlbundle_onnx.encoding import Layout, Source, blocks, largest, scales_of, write_channels, write_float, write_groups
from mlbundle_onnx.wire import Range

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.casting import ErrorSum


def source(folder: Path, array: np.ndarray, type_: str = "FLOAT") -> Source:
    path = folder / "weights"
    path.write_bytes(b"head" + array.tobytes())
    return Source(Range(path, 4, array.nbytes), type_)


def written(folder: Path, write: Callable[[int], object], dtype: object) -> tuple[object, np.ndarray]:
    file = os.open(folder / "out", os.O_RDWR | os.O_CREAT)
    result = write(file)
    os.close(file)
    return result, np.fromfile(folder / "out", dtype)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 300))
def test_blocks_cover_a_tensor_exactly_once(outer: int, channels: int, inner: int, size: int) -> None:
    before, encoding._BLOCK = encoding._BLOCK, size
    try:
        found = np.full(outer * channels * inner, -1)
        for block in blocks(Layout(outer, channels, inner)):
            part = found[block.start : block.start + block.count].reshape(block.shape)
            assert (part == -1).all()
            part[:] = np.arange(channels)[block.channels].reshape(1, -1, 1)
    finally:
        encoding._BLOCK = before
    expected = np.broadcast_to(np.arange(channels).reshape(1, -1, 1), (outer, channels, inner))
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_int8_by_channel_is_what_numpy_makes_of_it(tmp_path: Path, axis: int) -> None:
    array = np.random.default_rng(0).standard_normal((5, 7, 11)).astype(np.float32)
    layout = Layout.of(array.shape, axis)
    others = tuple(each for each in range(3) if each != axis)
    with source(tmp_path, array) as each:
        found = largest(each, layout)
        assert found is not None
        np.testing.assert_array_equal(found, np.abs(array).max(axis=others))
        scales = scales_of(found)
        error, stored = written(tmp_path, lambda file: write_channels(each, layout, scales, file, 0), np.int8)
    shape = [1, 1, 1]
    shape[axis] = -1
    after = stored.reshape(array.shape) * scales.reshape(shape)
    assert np.abs(after - array).max() <= scales.max() / 2 * 1.0001
    ratio = 10 * np.log10(np.square(array, dtype=np.float64).sum() / np.square(array.astype(np.float64) - after).sum())
    assert isinstance(error, ErrorSum)
    assert error.sqnr == pytest.approx(ratio)


def test_groups_lose_less_where_one_value_is_far_out(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((4, 320)).astype(np.float32)
    array[2, 5] = 500
    with source(tmp_path, array) as each:
        found = largest(each, Layout.of(array.shape, 0))
        assert found is not None
        rows, _ = written(tmp_path, lambda file: write_channels(each, Layout.of(array.shape, 0), scales_of(found), file, 0), np.int8)
        (error, scales), stored = written(tmp_path, lambda file: write_groups(each, file, 0), np.int8)  # type: ignore[misc]
    after = (stored.reshape(-1, 32) * scales.reshape(-1, 1)).reshape(array.shape)
    assert np.abs(np.delete(after - array, 2, axis=0)).max() < 0.02
    assert error.sqnr > rows.sqnr + 10


@pytest.mark.parametrize(("dtype", "numpy_type", "least"), [("FLOAT16", np.float16, 70), ("BFLOAT16", ml_dtypes.bfloat16, 50)])
def test_floats_are_rounded_as_numpy_does(tmp_path: Path, dtype: str, numpy_type: type, least: float) -> None:
    array = np.random.default_rng(0).standard_normal((100, 30)).astype(np.float32)
    with source(tmp_path, array) as each:
        error, stored = written(tmp_path, lambda file: write_float(each, dtype, file, 0), numpy_type)
    np.testing.assert_array_equal(stored, array.astype(numpy_type).ravel())
    assert isinstance(error, ErrorSum)
    assert error.finite
    assert error.sqnr is not None
    assert error.sqnr > least


@pytest.mark.parametrize("value", [70000.0, np.inf, np.nan, -np.inf])
def test_what_no_float16_can_be_does_not_fit(tmp_path: Path, value: float) -> None:
    array = np.full((4, 4), value, np.float32)
    with source(tmp_path, array) as each:
        error, _ = written(tmp_path, lambda file: write_float(each, "FLOAT16", file, 0), np.float16)
        assert (largest(each, Layout.of(array.shape, 0)) is None) == (not np.isfinite(value))
    assert isinstance(error, ErrorSum)
    assert not error.finite or error.overflows


def test_zeros_stay_zeros(tmp_path: Path) -> None:
    array = np.zeros((4, 32), np.float32)
    with source(tmp_path, array) as each:
        found = largest(each, Layout.of(array.shape, 0))
        assert found is not None
        error, stored = written(tmp_path, lambda file: write_channels(each, Layout.of(array.shape, 0), scales_of(found), file, 0), np.int8)
    assert not stored.any()
    assert isinstance(error, ErrorSum)
    assert error.sqnr is None


@pytest.mark.parametrize(("type_", "dtype"), [("DOUBLE", np.float64), ("FLOAT16", np.float16), ("BFLOAT16", ml_dtypes.bfloat16)])
def test_other_floats_are_read_as_they_are(tmp_path: Path, type_: str, dtype: type) -> None:
    array = np.random.default_rng(0).standard_normal((40, 32)).astype(dtype)
    with source(tmp_path, array, type_) as each:
        found = largest(each, Layout.of(array.shape, 0))
    np.testing.assert_array_equal(found, np.abs(array.astype(np.float32)).max(axis=1))


def test_results_do_not_depend_on_the_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).standard_normal((3000, 400)).astype(np.float32)
    results = []
    for threads in (1, 4):
        monkeypatch.setattr(encoding, "_THREADS", threads)
        with source(tmp_path, array) as each:
            results.append(written(tmp_path, lambda file: write_groups(each, file, 0), np.int8))
    (first, second) = results
    assert first[0][0] == second[0][0]  # type: ignore[index]
    np.testing.assert_array_equal(first[1], second[1])


def test_a_file_that_ends_early_is_noticed(tmp_path: Path) -> None:
    array = np.ones((4, 32), np.float32)
    each = source(tmp_path, array)
    os.truncate(tmp_path / "weights", 100)
    with each, pytest.raises(ModelError, match="ends early"):
        largest(each, Layout.of(array.shape, 0))
