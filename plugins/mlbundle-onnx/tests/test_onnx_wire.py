"""Cutting weights out of a serialized model, and putting them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from mlbundle_onnx import wire
from mlbundle_onnx.modelfile import read_model
from mlbundle_onnx.wire import LARGE, ORIGINAL, Range, cut_out, put_back, write_pieces
from onnx import TensorProto, helper, numpy_helper
from onnxsmith import embedder, floats, model, save, values

from hatch_mlbundle.errors import ModelError


def restored(path: Path) -> onnx.ModelProto:
    target = path.with_name("restored.onnx")
    write_pieces(put_back(read_model(path, {}).proto.SerializeToString(deterministic=True), {ORIGINAL: path}), target)
    return onnx.load(target)


def arrays(made: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}


def test_what_is_cut_out_and_put_back_is_the_same_file(tmp_path: Path) -> None:
    path = save(embedder(doc_string="what it is for", producer_name="somebody"), tmp_path / "m.onnx")
    assert len(cut_out(path)) < 3 * LARGE < path.stat().st_size
    assert restored(path).SerializeToString() == path.read_bytes()


def test_numbers_written_as_floats_become_raw_data_of_the_same_values(tmp_path: Path) -> None:
    table = values(64, 64)
    tensors = {
        "floats": helper.make_tensor("floats", TensorProto.FLOAT, [64, 64], table.ravel()),
        "doubles": helper.make_tensor("doubles", TensorProto.DOUBLE, [64, 64], table.astype(np.float64).ravel()),
    }
    nodes = [helper.make_node("MatMul", ["x", "floats"], ["y"]), helper.make_node("Identity", ["doubles"], ["z"])]
    outputs = [floats("y", "n", 64), helper.make_tensor_value_info("z", TensorProto.DOUBLE, [64, 64])]
    path = save(model(nodes, tensors, [floats("x", "n", 64)], outputs), tmp_path / "m.onnx")
    for name, array in arrays(restored(path)).items():
        np.testing.assert_array_equal(array, arrays(onnx.load(path))[name])


def test_weights_in_branches_and_constants_are_cut_out_too(tmp_path: Path) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "then", [], [floats("o", 64, 64)])
    inner.initializer.append(numpy_helper.from_array(values(64, 64, seed=1), "w"))
    constant = helper.make_node("Constant", [], ["p"], value=numpy_helper.from_array(values(64, 64, seed=2)))
    other = helper.make_graph([constant], "else", [], [floats("p", 64, 64)])
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other)
    path = save(model([node], {}, [condition], [floats("y", 64, 64)]), tmp_path / "m.onnx")
    assert len(cut_out(path)) < 2000
    assert len(read_model(path, {}).weights) == 2
    assert restored(path).SerializeToString() == path.read_bytes()


def test_the_parts_of_sparse_tensors_are_cut_out_too(tmp_path: Path) -> None:
    places = numpy_helper.from_array(np.arange(2000) * 3, "places")
    made = embedder()
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(numpy_helper.from_array(values(2000), "sparse"), places, [64, 128]))
    made.graph.node.append(helper.make_node("Add", ["dense", "sparse"], ["sum"]))
    path = save(made, tmp_path / "m.onnx")
    assert len(cut_out(path)) < 3 * LARGE
    assert restored(path).SerializeToString() == path.read_bytes()


def length(size: int) -> bytes:
    return bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])


TWICE = b"\x4a" + length(LARGE) + bytes(LARGE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x3a", "damaged"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "damaged"),
        (b"\x3a\xff\xff\xff\xff\x0f" + bytes(100), "damaged"),
        (b"\x3b\x08\x01\x3c", "damaged"),
        (b"not a model at all", "damaged"),
        (b"\x08\x08", "no graph"),
        (b"\x3a" + length(2 * len(TWICE) + 4) + b"\x2a" + length(2 * len(TWICE)) + TWICE + TWICE, "holds its data twice"),
    ],
)
def test_what_is_no_model_is_said_to_be_none(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message):
        read_model(path, {})


def test_messages_nested_without_end_are_refused(tmp_path: Path) -> None:
    data = bytes(LARGE)
    for _ in range(40):  # attribute.g in node in graph, 120 levels deep
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            data = tag + length(len(data)) + data
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + length(len(data)) + data)
    with pytest.raises(ModelError, match="nested too deeply"):
        cut_out(tmp_path / "m.onnx")


def test_what_many_messages_add_up_to_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = b"\x32" + length(LARGE) + bytes(LARGE)  # a doc_string
    nodes = (b"\x0a" + length(len(node)) + node) * 10
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + length(len(nodes)) + nodes)
    assert len(cut_out(tmp_path / "m.onnx")) > 10 * LARGE
    monkeypatch.setattr(wire, "LARGEST_SKELETON", 3 * LARGE)
    with pytest.raises(ModelError, match="beside the data of its tensors"):
        cut_out(tmp_path / "m.onnx")


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(10))
    with pytest.raises(ModelError, match="ends 5 bytes early"):
        write_pieces([b"x", Range(tmp_path / "data", 5, 10)], tmp_path / "out")
