"""Weights stored as float16 and int8: what the graph computes stays, and so does all else of the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlbundle_onnx.choosing import Rules
from mlbundle_onnx.storing import Place, store
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from onnxsmith import cosine, embedder, floats, integers, model, run, save, stored_types, tokens, values

from hatch_mlbundle.errors import KeptError


def stored(path: Path, form: str = "int8", files: Mapping[str, Path] | None = None, **rules: Any) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Store a model; return its path, checked, and the rows by name."""
    target = path.parent / f"{form}-{len(list(path.parent.iterdir()))}"
    (target / "work").mkdir(parents=True)
    place = Place(model=target / path.name, data=target / "m.bin", location="m.bin", scratch=target / "work")
    detail = store(path, files or {}, Rules(form=form, **rules), place)  # type: ignore[arg-type]
    onnx.checker.check_model(str(place.model), full_check=True)
    assert list((target / "work").iterdir()) == []
    changed = [row["sqnr"] for row in detail["tensors"] if row["sqnr"] is not None]
    assert not changed or min(changed) <= detail["sqnr"] <= max(changed)
    return place.model, {row["name"]: row for row in detail["tensors"]}


@pytest.mark.parametrize(("form", "part", "least"), [("float16", 0.51, 0.9999999), ("int8", 0.29, 0.9999)])
@pytest.mark.parametrize("outside", [False, True])
def test_a_model_is_smaller_and_computes_the_same(tmp_path: Path, form: str, part: float, least: float, outside: bool) -> None:
    path = save(embedder(), tmp_path / "m.onnx", "m.bin" if outside else None)
    files = {"m.bin": tmp_path / "m.bin"} if outside else {}
    after, _ = stored(path, form, files)
    before_size = sum(each.stat().st_size for each in (path, *files.values()))
    after_size = sum(each.stat().st_size for each in (after, *after.parent.glob("m.bin")))
    assert after_size < part * before_size + 2500
    assert (after.parent / "m.bin").exists() == outside
    assert cosine(run(path, input_ids=tokens())[0], run(after, input_ids=tokens())[0]) > least


def test_channels_lie_where_each_operator_has_its_outputs(tmp_path: Path) -> None:
    _, rows = stored(save(embedder(), tmp_path / "m.onnx"), min_sqnr=30.0)
    assert {name: row["after"] for name, row in rows.items()} == {
        "words": "I8 by row",
        "dense": "I8 by column",
        "out": "I8 by row",
        "bias": "F32",
    }
    assert rows["bias"]["kept"] == "one axis or none"
    assert rows["words"]["size"] == [96 * 64 * 4, 96 * 64 + 96 * 4]
    assert rows["dense"]["sqnr"] > 40


@pytest.mark.parametrize(
    ("least", "words"), [(20.0, "I8 by column"), (38.5, "I8 in groups of 32"), (60.0, "F16"), (100.0, "F32")], ids=lambda each: str(each)
)
def test_a_weight_that_is_too_coarse_gets_the_next_finer_form(tmp_path: Path, least: float, words: str) -> None:
    """Values of very different sizes in every channel, so that one scale for all of them is coarse."""
    made = embedder()
    table = values(64, 128) * np.exp(np.random.default_rng(7).standard_normal((64, 128)) * 1.6).astype(np.float32)
    next(each for each in made.graph.initializer if each.name == "dense").CopyFrom(numpy_helper.from_array(table, "dense"))
    path = save(made, tmp_path / "m.onnx")
    if words == "F32":
        with pytest.raises(KeptError, match="F16 has"):
            stored(path, min_sqnr=least)
        return
    after, rows = stored(path, min_sqnr=least)
    assert rows["dense"]["after"] == words
    assert rows["dense"]["sqnr"] >= least
    assert cosine(run(path, input_ids=tokens())[0], run(after, input_ids=tokens())[0]) > 0.999


def test_values_beyond_float16_are_stored_as_bfloat16(tmp_path: Path) -> None:
    made = embedder()
    table = values(64, 128, scale=1e6)
    next(each for each in made.graph.initializer if each.name == "dense").CopyFrom(numpy_helper.from_array(table, "dense"))
    after, rows = stored(save(made, tmp_path / "m.onnx"), "float16")
    assert rows["dense"]["after"] == "BF16"
    assert rows["words"]["after"] == "F16"
    assert cosine(run(tmp_path / "m.onnx", input_ids=tokens())[0], run(after, input_ids=tokens())[0]) > 0.999


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays(tmp_path: Path, bad: float) -> None:
    made = embedder()
    table = values(64, 128)
    table[3, 3] = bad
    next(each for each in made.graph.initializer if each.name == "dense").CopyFrom(numpy_helper.from_array(table, "dense"))
    for form in ("float16", "int8"):
        after, rows = stored(save(made, tmp_path / "m.onnx"), form)
        assert rows["dense"]["kept"] == "it holds values that are not finite"
        assert stored_types(after)["dense"] == TensorProto.FLOAT


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_doubles_that_float32_takes_for_zeros_stay(tmp_path: Path, form: str) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1, 64]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    tiny = values(64, 64).astype(np.float64) * 1e-60
    with pytest.raises(KeptError, match="too small for float32"):
        stored(save(model([node], {"w": tiny}, ends[:1], ends[1:]), tmp_path / "m.onnx"), form)
    after, rows = stored(save(model([node], {"w": tiny * 0}, ends[:1], ends[1:]), tmp_path / "m.onnx"), form)
    assert rows["w"]["sqnr"] is None
    assert not run(after, x=values(1, 64).astype(np.float64))[0].any()


def test_names_operators_and_positions_may_keep_weights(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx")
    _, rows = stored(path, keep=("wor*",))
    assert rows["words"]["kept"] == "named in `keep`"
    _, rows = stored(path, ops=("Gather",))
    assert rows["words"]["after"] == "I8 by row"
    assert rows["dense"]["kept"] == rows["out"]["kept"] == "used by no operator of `ops`"
    made = embedder()
    for each in made.graph.initializer:
        each.name = each.name.replace("words", "position_embeddings.weight")
    made.graph.node[0].input[0] = "position_embeddings.weight"
    _, rows = stored(save(made, path))
    assert rows["position_embeddings.weight"]["after"] == "F16"
    _, rows = stored(save(embedder(), path), promoted=frozenset({"dense"}))
    assert rows["dense"]["after"] == "F16"


def test_one_scale_for_a_whole_weight(tmp_path: Path) -> None:
    after, rows = stored(save(embedder(), tmp_path / "m.onnx"), per_channel=False, min_sqnr=20.0)
    assert rows["dense"]["after"] == "I8"
    assert rows["dense"]["size"] == [64 * 128 * 4, 64 * 128 + 4]
    assert cosine(run(tmp_path / "m.onnx", input_ids=tokens())[0], run(after, input_ids=tokens())[0]) > 0.999


def test_everything_else_of_the_model_stays(tmp_path: Path) -> None:
    made = embedder(producer_name="torch", doc_string="a model", model_version=7)
    helper.set_model_props(made, {"author": "me"})
    made.graph.doc_string = "a graph"
    made.opset_import.append(helper.make_opsetid("com.example", 3))
    after, _ = stored(save(made, tmp_path / "m.onnx"))
    result = onnx.load(after)
    for field in ("producer_name", "doc_string", "model_version", "ir_version", "metadata_props", "opset_import"):
        assert getattr(result, field) == getattr(made, field)
    assert result.graph.doc_string == "a graph"
    assert list(result.graph.input) == list(made.graph.input)
    assert list(result.graph.output) == list(made.graph.output)
    assert [node for node in result.graph.node if "mlbundle" not in node.name] == list(made.graph.node)


def test_inputs_outputs_and_old_operator_sets_are_left_alone(tmp_path: Path) -> None:
    made = embedder()
    made.graph.input.append(floats("dense", 64, 128))
    made.graph.output.append(floats("out", 64, 128))
    _, rows = stored(save(made, tmp_path / "m.onnx"))
    assert rows["dense"]["kept"].startswith("an input of the graph, too")
    assert rows["out"]["kept"] == "an output of its graph"
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    old = model([node], {"w": values(64, 64)}, [floats("x", 1, 64)], [floats("y", 1, 64)], opset=6)
    with pytest.raises(KeptError, match="the operator set 6 is older than 7"):
        stored(save(old, tmp_path / "old.onnx"))


def test_shared_external_data_stays_shared(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    table = values(64, 64)
    made = model(nodes, {"a": table, "b": table, "kept": values(64, 64)}, [floats("x", 1, 64)], [floats("y", 1, 64)])
    made.graph.node.append(helper.make_node("Identity", ["kept"], ["k"]))
    made.graph.output.append(floats("k", 64, 64))
    path = save(made, tmp_path / "m.onnx", "m.bin")
    proto = onnx.load(path, load_external_data=False)
    first, second = proto.graph.initializer[0], proto.graph.initializer[1]
    del second.external_data[:]
    second.external_data.extend(first.external_data)
    save(proto, path)
    after, _ = stored(path, "float16", {"m.bin": tmp_path / "m.bin"}, keep=("kept",))
    places = {
        each.name: {e.key: e.value for e in each.external_data} for each in onnx.load(after, load_external_data=False).graph.initializer
    }
    assert places["a_f16"] == places["b_f16"]
    assert places["kept"]["location"] == "m.bin"
    assert (after.parent / "m.bin").stat().st_size == 64 * 64 * (2 + 4)
    np.testing.assert_array_equal(run(after, x=np.ones((1, 64), np.float32))[1], values(64, 64))


def test_large_entries_begin_at_pages(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx", "m.bin")
    after, _ = stored(path, "int8", {"m.bin": tmp_path / "m.bin"})
    for each in onnx.load(after, load_external_data=False).graph.initializer:
        entries = {entry.key: int(entry.value) for entry in each.external_data if entry.key != "location"}
        assert not entries or entries["offset"] % (4096 if entries["length"] >= 4096 else 64) == 0


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_branches_constants_and_functions(tmp_path: Path, form: str) -> None:
    then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["o"])], "then", [], [floats("o", 2, 64)])
    then.initializer.append(numpy_helper.from_array(values(64, 64, seed=1), "w"))
    constant = helper.make_node("Constant", [], ["p"], value=numpy_helper.from_array(values(64, 64, seed=2)))
    other = helper.make_graph([constant, helper.make_node("MatMul", ["x", "p"], ["q"])], "else", [], [floats("q", 2, 64)])
    body = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(values(64, 64, seed=3))),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
    ]
    function = helper.make_function("own", "Layer", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("If", ["c"], ["h"], then_branch=then, else_branch=other),
        helper.make_node("Layer", ["h"], ["y"], domain="own"),
    ]
    inputs = [floats("x", 2, 64), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    made = model(nodes, {}, inputs, [floats("y", 2, 64)], functions=[function])
    made.opset_import.append(helper.make_opsetid("own", 1))
    path = save(made, tmp_path / "m.onnx")
    after, rows = stored(path, form)
    assert sorted(rows) == ["p", "w"]  # the function's and the branch's are both called w
    assert after.stat().st_size < 0.6 * path.stat().st_size
    for choice in (True, False):
        feed = {"x": values(2, 64, seed=9), "c": np.array(choice)}
        assert cosine(run(path, **feed)[0], run(after, **feed)[0]) > 0.9999


@pytest.mark.parametrize(("numpy_type", "word"), [(np.float64, "F64"), (np.float16, "F16")])
def test_other_floats_come_back_as_they_were(tmp_path: Path, numpy_type: type, word: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(numpy_type))
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ends = [helper.make_tensor_value_info(name, kind, [1, 64]) for name in ("x", "y")]
    path = save(model([node], {"w": values(64, 64).astype(numpy_type)}, ends[:1], ends[1:]), tmp_path / "m.onnx")
    after, rows = stored(path)
    assert (rows["w"]["before"], rows["w"]["after"]) == (word, "I8 by column")
    x = values(1, 64, seed=5).astype(numpy_type)
    (result,) = run(after, x=x)
    assert result.dtype == numpy_type
    assert cosine(run(path, x=x)[0], result) > 0.9999
    if numpy_type is np.float16:
        with pytest.raises(KeptError, match="two bytes an element already"):
            stored(path, "float16")


def test_convolutions_have_channels_along_the_axis_of_their_outputs(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("ConvTranspose", ["h", "v"], ["y"])]
    weights = {"w": values(32, 16, 3, 3), "v": values(32, 16, 3, 3)}
    path = save(model(nodes, weights, [floats("x", 1, 16, 8, 8)], [floats("y", 1, 16, 8, 8)]), tmp_path / "m.onnx")
    after, rows = stored(path)
    assert {name: row["after"] for name, row in rows.items()} == {"w": "I8 by row", "v": "I8 along axis 1"}
    x = values(1, 16, 8, 8)
    assert cosine(run(path, x=x)[0], run(after, x=x)[0]) > 0.9999


def test_names_that_are_taken_are_not_taken_again(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["w_scale"], name="w/mlbundle/Cast"), helper.make_node("Relu", ["w_scale"], ["w_i8"])]
    path = save(model(nodes, {"w": values(64, 64)}, [floats("x", 1, 64)], [floats("w_i8", 1, 64)]), tmp_path / "m.onnx")
    after, _ = stored(path)
    x = values(1, 64, seed=3)
    assert cosine(run(path, x=x)[0], run(after, x=x)[0]) > 0.9999


def test_a_second_pass_finds_nothing_to_do(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx")
    for form in ("float16", "int8"):
        after, _ = stored(path, form)
        if form == "int8":
            with pytest.raises(KeptError, match="no weight can be made smaller"):
                stored(after, form)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    path = save(embedder(), tmp_path / "m.onnx", "m.bin")
    results = [stored(path, "int8", {"m.bin": tmp_path / "m.bin"})[0] for _ in range(2)]
    assert results[0].read_bytes() == results[1].read_bytes()
    assert results[0].with_name("m.bin").read_bytes() == results[1].with_name("m.bin").read_bytes()


def test_text_whole_numbers_and_sparse_tensors_are_left_alone(tmp_path: Path) -> None:
    made = embedder()
    made.graph.initializer.append(helper.make_tensor("text", TensorProto.STRING, [2], [b"a", b"b"]))
    made.graph.initializer.append(numpy_helper.from_array(np.arange(8192).reshape(64, 128), "numbers"))
    spare = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(3, np.float32), "sparse"), numpy_helper.from_array(np.arange(3), "places"), [9000]
    )
    made.graph.sparse_initializer.append(spare)
    made.graph.node.append(helper.make_node("Identity", ["numbers"], ["n"]))
    made.graph.output.append(integers("n", 64, 128))
    after, rows = stored(save(made, tmp_path / "m.onnx"))
    assert rows["numbers"]["kept"] == "no floating-point numbers"
    assert "text" not in rows
    result = onnx.load(after)
    assert list(result.graph.sparse_initializer) == [spare]
    np.testing.assert_array_equal(run(after, input_ids=tokens())[1], np.arange(8192).reshape(64, 128))


def test_external_data_of_sparse_tensors_and_defaults_moves_too(tmp_path: Path) -> None:
    kept, default = values(2000, seed=5), values(64, 64, seed=6)
    made = embedder()
    places = numpy_helper.from_array(np.arange(2000) * 3, "places")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(numpy_helper.from_array(kept, "sparse"), places, [64, 128]))
    made.graph.node.append(helper.make_node("Table", [], ["table"], domain="own"))
    made.graph.output.append(floats("table", 64, 64))
    constant = helper.make_node("Constant", [], ["t"])
    constant.attribute.add(name="value", ref_attr_name="rows", type=onnx.AttributeProto.TENSOR)
    rows = helper.make_attribute("rows", numpy_helper.from_array(default, "default"))
    function = helper.make_function("own", "Table", [], ["t"], [constant], [helper.make_opsetid("", 17)], attribute_protos=[rows])
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    path = save(made, tmp_path / "m.onnx", "m.bin")
    made = onnx.load(path, load_external_data=False)
    for tensor in (made.graph.sparse_initializer[0].values, made.functions[0].attribute_proto[0].t):
        append_outside(tensor, tmp_path / "m.bin")
    save(made, path)
    after, _ = stored(path, "int8", {"m.bin": tmp_path / "m.bin"})
    result = onnx.load(after, load_external_data=False)
    for tensor, array in ((result.graph.sparse_initializer[0].values, kept), (result.functions[0].attribute_proto[0].t, default)):
        np.testing.assert_array_equal(numpy_helper.to_array(tensor, str(after.parent)).reshape(array.shape), array)


def test_empty_external_data_stays_within_its_file(tmp_path: Path) -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": values(64, 64)}, [floats("x", 1, 64)], [floats("y", 1, 64)])
    path = save(made, tmp_path / "m.onnx", "m.bin")
    made = onnx.load(path, load_external_data=False)
    for name, array in (("odd", np.arange(10, dtype=np.float32)), ("empty", np.zeros((0, 4), np.float32))):
        made.graph.initializer.append(numpy_helper.from_array(array, name))
        append_outside(made.graph.initializer[-1], tmp_path / "m.bin")
        made.graph.node.append(helper.make_node("Identity", [name], [f"{name}_too"]))
        made.graph.output.append(floats(f"{name}_too", *array.shape))
    after, _ = stored(save(made, path), "int8", {"m.bin": tmp_path / "m.bin"})
    _, odd, empty = run(after, x=values(1, 64))
    np.testing.assert_array_equal(odd, np.arange(10))
    assert empty.shape == (0, 4)


def append_outside(tensor: TensorProto, path: Path) -> None:
    """Let a tensor's data be at the end of a file."""
    with path.open("ab") as stream:
        external_data_helper.set_external_data(tensor, path.name, stream.tell(), len(tensor.raw_data))
        stream.write(tensor.raw_data)
    tensor.ClearField("raw_data")
