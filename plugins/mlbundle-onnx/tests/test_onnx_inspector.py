"""What the inspector tells of models, beside what onnx itself says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxsmith
import pytest
from mlbundle_onnx import inspector
from mlbundle_onnx.hooks import mlbundle_register_inspectors
from mlbundle_onnx.inspector import OnnxInspector
from onnx import TensorProto, helper, numpy_helper

from hatch_mlbundle.contents.rows import Inspecting
from hatch_mlbundle.errors import ModelError
from tests.builders import bundle_from
from tests.contents.inspecting import rows_of

OFFERED = (Inspecting(inspector=OnnxInspector(), distribution="mlbundle-onnx", distribution_version="1"),)
NAMES = {TensorProto.FLOAT: "F32", TensorProto.FLOAT16: "F16", TensorProto.INT64: "I64", TensorProto.INT8: "I8", TensorProto.UINT4: "U4"}


def contents(folder: Path) -> dict[str, dict[str, int]]:
    """Return the parts of each file that has a row; they add up to it."""
    rows = {row.path: dict(row.parts) for row in rows_of(bundle_from(folder), OFFERED)}
    for path, parts in rows.items():
        assert sum(parts.values()) == (folder / path).stat().st_size
    return rows


def data_of(tensors: Iterator[TensorProto] | list[TensorProto]) -> dict[str, int]:
    """Return the bytes of raw data by dtype, as onnx reads them."""
    sizes: Counter[str] = Counter()
    for each in tensors:
        sizes[NAMES[each.data_type]] += len(each.raw_data)
    return dict(sizes)


def mixed() -> onnx.ModelProto:
    weights = {
        "half": onnxsmith.values(30, 40).astype(np.float16),
        "bytes": np.arange(100, dtype=np.int8),
        "one": np.array([3], dtype=np.int64),
        "packed": helper.make_tensor("packed", TensorProto.UINT4, [6], [1, 2, 3, 4, 5, 6]),
    }
    weights["packed"] = TensorProto(name="packed", data_type=TensorProto.UINT4, dims=[6], raw_data=b"abc")
    made = onnxsmith.embedder()
    made.graph.initializer.extend(
        each if isinstance(each, TensorProto) else numpy_helper.from_array(each, name) for name, each in weights.items()
    )
    return made


def test_initializers_by_dtype_as_onnx_reads_them(tmp_path: Path) -> None:
    made = mixed()
    onnxsmith.save(made, tmp_path / "m.onnx")
    (parts,) = contents(tmp_path).values()
    graph = parts.pop("(graph)")
    assert parts == data_of(list(made.graph.initializer))
    assert graph < 1000


def test_external_data_is_told_of_the_file_that_it_lies_in(tmp_path: Path) -> None:
    made = onnxsmith.embedder()
    onnxsmith.save(made, tmp_path / "m.onnx", data="m.onnx_data")
    found = contents(tmp_path)
    whole = sum(len(each.raw_data) for each in made.graph.initializer)
    small = sum(len(each.raw_data) for each in made.graph.initializer if len(each.raw_data) < 1024)
    assert small > 0
    assert found["m.onnx"]["F32"] == small
    assert found["m.onnx_data"]["F32"] == whole - small


def test_two_models_that_share_their_data(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        onnxsmith.save(onnxsmith.embedder(), tmp_path / "m" / name, data="weights.bin")
        (tmp_path / "m" / "weights.bin").rename(tmp_path / name)
    (tmp_path / "a.onnx").rename(tmp_path / "m" / "weights.bin")
    (tmp_path / "b.onnx").unlink()
    alone = {path: parts for path, parts in contents(tmp_path).items() if path != "m/b.onnx"}
    (tmp_path / "m" / "b.onnx").unlink()
    assert contents(tmp_path) == alone
    assert alone["m/weights.bin"]["F32"] > 50_000


def test_data_that_is_too_short_for_the_model_has_no_row(tmp_path: Path) -> None:
    onnxsmith.save(onnxsmith.embedder(), tmp_path / "m.onnx", data="m.data")
    (tmp_path / "m.data").write_bytes(b"x" * 100)
    assert list(contents(tmp_path)) == ["m.onnx"]
    (tmp_path / "m.data").unlink()
    assert list(contents(tmp_path)) == ["m.onnx"]


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "", "c:x"])
def test_a_model_whose_data_is_astray_is_not_told_of(tmp_path: Path, location: str) -> None:
    made = onnxsmith.embedder()
    (tensor, *_) = made.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "m").mkdir()
    (tmp_path / "secret").write_bytes(b"x" * 10**5)
    onnxsmith.save(made, tmp_path / "m" / "m.onnx")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(("offset", "length", "told"), [(None, None, 24_576), ("64", None, 24_576), ("10", "100", 100)])
def test_where_no_length_is_given_the_shape_tells_it(tmp_path: Path, offset: str | None, length: str | None, told: int) -> None:
    made = onnxsmith.embedder()
    tensor = next(each for each in made.graph.initializer if each.name == "words")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    onnxsmith.save(made, tmp_path / "m.onnx")
    (tmp_path / "w.bin").write_bytes(bytes(30_000))
    assert contents(tmp_path)["w.bin"] == {"F32": told, "(other)": 30_000 - told}


def test_numbers_that_are_not_raw_and_those_of_large_constants_and_inner_graphs_count(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(onnxsmith.values(50, 50), "c"))
    inner = helper.make_graph([], "inner", [], [], [numpy_helper.from_array(onnxsmith.values(40, 40), "w")])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    floats = helper.make_tensor("floats", TensorProto.FLOAT, [30], [0.5] * 30)
    integers = helper.make_tensor("integers", TensorProto.INT64, [3], [1, 2, 300])
    texts = helper.make_tensor("texts", TensorProto.STRING, [2], [b"abc", b"de"])
    made = onnxsmith.model([constant, branch], {"f": floats, "i": integers, "t": texts}, [], [])
    onnxsmith.save(made, tmp_path / "m.onnx")
    (parts,) = contents(tmp_path).values()
    assert parts["F32"] == 4 * (2500 + 2 * 1600 + 30)
    assert parts["I64"] == 4  # two of one byte, one of two
    assert parts["STRING"] == 5


HOSTILE = {
    "empty": b"",
    "text": b"hello world, this is no model at all",
    "zeros": bytes(1000),
    "nested": b"\x3a" * 4000,
    "a length of 2^63": b"\x08\x08\x3a" + b"\xff" * 8 + b"\x7f",
    "a number without an end": b"\x08" + b"\xff" * 20,
    "a signpost": b"MLBUNDLE\nm.onnx: the weights are in m.onnx.mlpack\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_model_has_no_row(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.onnx").write_bytes(HOSTILE[name])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("kind", [0, 99, 2**31 - 1])
def test_an_unknown_data_type_has_no_row(tmp_path: Path, kind: int) -> None:
    made = onnxsmith.embedder()
    made.graph.initializer[0].data_type = kind
    onnxsmith.save(made, tmp_path / "m.onnx")
    assert contents(tmp_path) == {}


def test_damage_is_told_right_or_not_at_all(tmp_path: Path) -> None:
    whole = onnxsmith.save(mixed(), tmp_path / "m.onnx").read_bytes()
    chance = random.Random(4)
    for _ in range(60):
        data = bytearray(whole[: chance.randrange(300, len(whole))] if chance.random() < 0.2 else whole)
        for _ in range(2):
            data[chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(300)] = chance.randrange(256)
        (tmp_path / "m.onnx").write_bytes(data)
        contents(tmp_path)


def test_a_model_of_more_fields_than_any_real_one_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnxsmith.save(onnxsmith.embedder(), tmp_path / "m.onnx")
    monkeypatch.setattr(inspector, "MOST_FIELDS", 10)
    with pytest.raises(ModelError, match="has more than 10 fields"):
        list(OnnxInspector().inspect(path))


def test_it_is_registered() -> None:
    assert list(mlbundle_register_inspectors()) == [OnnxInspector]
