"""What runs ONNX models on the user's samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlbundle_onnx.evaluator import OnnxEvaluator
from onnx import helper
from onnxsmith import embedder, floats, integers, model, run, save, values

from hatch_mlbundle.accuracy.evaluator import Samples


def outputs(path: Path, *rows: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    return [dict(each) for each in OnnxEvaluator().outputs(path, Samples(rows=rows))]


def test_each_sample_gives_its_own_outputs(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx")
    ids = np.random.default_rng(0).integers(0, 96, (40, 5))
    given = outputs(path, *[{"input_ids": each} for each in ids])
    assert len(given) == 40
    np.testing.assert_allclose(np.stack([each["y"] for each in given]), run(path, input_ids=ids)[0], rtol=1e-5, atol=1e-7)


def test_rows_of_json_are_made_what_the_model_takes(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx")
    given = outputs(path, {"input_ids": [1, 2, 3]}, {"input_ids": [4, 5]})
    np.testing.assert_allclose(given[1]["y"], run(path, input_ids=np.array([[4, 5]]))[0][0], rtol=1e-5, atol=1e-7)


def test_a_model_without_a_free_first_dimension_gets_them_one_by_one(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    for dims in ((1, 64), (64, 64)):
        path = save(model([node], {"w": values(64, 64)}, [floats("x", *dims)], [floats("y", *dims)]), tmp_path / "m.onnx")
        rows = [values(64, seed=each) if dims == (1, 64) else values(64, 64, seed=each) for each in range(3)]
        given = outputs(path, *[{"x": row} for row in rows])
        for row, each in zip(rows, given, strict=True):
            np.testing.assert_array_equal(each["y"], run(path, x=row.reshape(dims))[0])


def test_the_same_samples_give_the_same_numbers(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx")
    rows = [{"input_ids": np.arange(7) + each} for each in range(5)]
    for first, second in zip(outputs(path, *rows), outputs(path, *rows), strict=True):
        np.testing.assert_array_equal(first["y"], second["y"])


@pytest.mark.parametrize(
    ("row", "message"),
    [({"tokens": [1]}, "takes input_ids; the samples have tokens"), ({"input_ids": ["a"]}, "is no number")],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = save(embedder(), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=message):
        outputs(path, row)


def test_what_it_runs_is_known_by_name(tmp_path: Path) -> None:
    path = save(model([], {}, [integers("x", 1)], [integers("x", 1)]), tmp_path / "M.ONNX")
    assert OnnxEvaluator().fits(path)
    assert not OnnxEvaluator().fits(tmp_path)
    assert list(OnnxEvaluator().programs()) == ["numpy", "onnxruntime"]
