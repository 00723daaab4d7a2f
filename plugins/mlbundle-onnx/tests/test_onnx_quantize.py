"""The step `onnx_quantize`: what it plans, makes, proves and refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlbundle_onnx import checking
from mlbundle_onnx.quantize import OnnxQuantize, OnnxQuantizeOptions
from mlbundle_onnx.slim import OnnxSlim, OnnxSlimOptions
from onnx import TensorProto, helper, numpy_helper
from onnxsmith import ROWS, cosine, embedder, floats, model, run, save, tokens, values
from onnxsteps import converted, planned, reasons

from hatch_mlbundle.errors import KeptError, MissingLibraryError, ModelError, UnsoundResultError
from hatch_mlbundle.model import Convert, Keep
from hatch_mlbundle.optimizer import Options


def test_what_is_planned_for_a_model_and_its_data(root: Path) -> None:
    save(embedder(), root / "pkg" / "a.onnx")
    save(embedder(), root / "pkg" / "b.onnx", "b.weights")
    changes, context, _ = planned(root, dtype="int8")
    assert changes == [
        Convert(path="pkg/a.onnx", reason="3 weights of 90.1 kB as int8", sources=("pkg/a.onnx",), outputs=("pkg/a.onnx",)),
        Convert(
            path="pkg/b.onnx",
            reason="3 weights of 90.1 kB as int8",
            sources=("pkg/b.onnx", "pkg/b.weights"),
            outputs=("pkg/b.onnx", "pkg/b.weights"),
        ),
    ]
    assert context.codes == []


def test_data_in_several_files_comes_into_one(root: Path, tmp_path: Path) -> None:
    made = embedder()
    onnx.save(made, root / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=1024)
    (change,), _, step = planned(root, dtype="int8")
    assert isinstance(change, Convert)
    assert change.sources == ("m.onnx", "dense", "out", "words")
    assert change.outputs == ("m.onnx", "m.onnx.data")
    details, target, _ = converted(root, tmp_path / "work", change, step)
    assert sorted(each.name for each in target.iterdir()) == ["m.onnx", "m.onnx.data"]
    assert details["m.onnx"]["comparison"]["cosine"] > 0.999
    assert cosine(run(root / "m.onnx", input_ids=tokens())[0], run(target / "m.onnx", input_ids=tokens())[0]) > 0.999


@pytest.mark.parametrize(("dtype", "words"), [("float16", "F16"), ("int8", "I8 by column"), ("dynamic", "I8 by column")])
@pytest.mark.parametrize("data", [None, "m.bin"])
def test_each_form_is_made_proven_and_described(root: Path, tmp_path: Path, dtype: str, words: str, data: str | None) -> None:
    path = save(embedder(), root / "m.onnx", data)
    (change,), _, step = planned(root, dtype=dtype)
    details, target, context = converted(root, tmp_path / "work", change, step)
    detail = details["m.onnx"]
    assert detail["dtype"] == dtype
    row = next(each for each in detail["tensors"] if each["name"] == "dense")
    assert row["after"] == words
    assert row["sqnr"] == round(row["sqnr"], 2)
    assert row["size"][1] < row["size"][0] / 1.9
    comparison = detail["comparison"]
    assert comparison["inputs"].startswith("generated, which proves less")
    assert comparison["samples"] == 3
    assert 0.99 < comparison["cosine"] <= 1
    assert context.codes == []
    before = sum(each.stat().st_size for each in root.iterdir())
    assert sum(each.stat().st_size for each in target.iterdir()) < before
    assert cosine(run(path, input_ids=tokens())[0], run(target / "m.onnx", input_ids=tokens())[0]) > 0.99


def test_dynamic_leaves_named_nodes_alone_and_says_where_it_finds_none(root: Path, tmp_path: Path) -> None:
    made = embedder()
    made.graph.node[1].name, made.graph.node[5].name = "layer/MatMul", "layer/Gemm"
    save(made, root / "m.onnx")
    (change,), _, step = planned(root, dtype="dynamic", keep=("layer/*",))
    with pytest.raises(KeptError, match="finds nothing to quantize"):
        converted(root, tmp_path / "work", change, step)


def test_models_that_share_data_are_left_alone(root: Path) -> None:
    save(embedder(), root / "a.onnx", "shared.bin")
    shutil.copy(root / "a.onnx", root / "b.onnx")
    save(embedder(), root / "c.onnx")
    changes, context, _ = planned(root)
    assert reasons(changes) == dict.fromkeys(("a.onnx", "b.onnx"), "its external data shared.bin is another model's, too")
    assert context.codes == []


def test_models_without_large_weights_are_left_alone(root: Path) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    save(model([node], {"w": values(8)}, [floats("x", 8)], [floats("y", 8)]), root / "small.onnx")
    half = model([node], {"w": values(96, 64).astype(np.float16)}, [floats("x", 8)], [floats("y", 8)])
    save(half, root / "half.onnx")
    changes, _, _ = planned(root)
    assert reasons(changes) == {
        "small.onnx": "it has no large floating-point weights",
        "half.onnx": "its weights are FLOAT16 already",
    }


def test_models_that_are_still_trained_are_left_alone(root: Path) -> None:
    made = embedder()
    made.training_info.add()
    save(made, root / "m.onnx")
    for step in (None, OnnxSlim(OnnxSlimOptions())):
        assert reasons(planned(root, step)[0]) == {"m.onnx": "it holds training information, which names weights"}


def test_links_to_models_and_unselected_ones_are_not_touched(root: Path) -> None:
    save(embedder(), root / "a.onnx")
    (root / "b.onnx").symlink_to("a.onnx")
    changes, context, _ = planned(root)
    assert [change.path for change in changes] == ["a.onnx"]
    assert context.examined == ["a.onnx"]


def test_a_result_that_computes_something_else_is_unsound(root: Path, tmp_path: Path) -> None:
    save(embedder(), root / "m.onnx")
    (change,), _, step = planned(root, dtype="int8", min_cosine=0.9999999)
    with pytest.raises(
        UnsoundResultError, match=r"a cosine of 0\.9999\d to the original's, and a relative error of 0\.0\d+; `min-cosine` is 1"
    ):
        converted(root, tmp_path / "work", change, step)


def test_an_original_that_does_not_open_is_not_changed(root: Path, tmp_path: Path) -> None:
    made = embedder()
    made.graph.node[1].domain = "com.example"
    made.opset_import.append(helper.make_opsetid("com.example", 1))
    save(made, root / "m.onnx")
    (change,), _, step = planned(root)
    with pytest.raises(ModelError, match=r"^the original itself fails: .*com\.example") as caught:
        converted(root, tmp_path / "work", change, step)
    assert str(root) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_original_that_runs_on_no_generated_input_is_told(root: Path, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    made = model(nodes, {"shape": np.array([7, 11, 64]), "w": values(64, 64)}, [floats("x", "a", "b")], [floats("y", 7, 11, 64)])
    save(made, root / "m.onnx")
    (change,), _, step = planned(root)
    details, _, context = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"]["inputs"] is None
    assert context.codes == ["MB723"]
    assert "does not run on generated inputs" in context.findings[0].message


def test_a_model_that_asks_for_too_much_memory_ends_in_its_own_process(root: Path, tmp_path: Path) -> None:
    """4 TB of zeros."""
    made = embedder()
    made.graph.initializer.append(numpy_helper.from_array(np.array([1 << 40]), "many"))
    made.graph.node.extend([helper.make_node("ConstantOfShape", ["many"], ["zeros"]), helper.make_node("ReduceSum", ["zeros"], ["sum"])])
    made.graph.output.append(floats("sum", 1))
    save(made, root / "m.onnx")
    (change,), _, step = planned(root)
    _, _, context = converted(root, tmp_path / "work", change, step)
    assert context.codes == ["MB723"]
    assert "the original does not run on generated inputs" in context.findings[0].message


def test_a_model_that_runs_for_ever_is_stopped(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, value = (helper.make_tensor_value_info("go", TensorProto.BOOL, []), floats("value"))
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["value"], ["next"])]
    results = [helper.make_tensor_value_info("on", TensorProto.BOOL, []), floats("next")]
    body = helper.make_graph(nodes, "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []), go, value], results)
    made = embedder()
    made.graph.initializer.extend([numpy_helper.from_array(np.array(1 << 60), "turns"), numpy_helper.from_array(np.array(True), "yes")])
    made.graph.node.append(helper.make_node("Loop", ["turns", "yes", "one"], ["last"], body=body))
    made.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    made.graph.output.append(floats("last"))
    save(made, root / "m.onnx")
    monkeypatch.setattr(checking, "_SECONDS", 3.0)
    (change,), _, step = planned(root)
    with pytest.raises(ModelError, match="the original itself fails: was stopped after 3"):
        converted(root, tmp_path / "work", change, step)


def test_outputs_that_differ_from_run_to_run_prove_nothing(root: Path, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    save(model(nodes, {"w": values(64, 64)}, [floats("x", "n", 64)], [floats("y", "n", 64)]), root / "m.onnx")
    (change,), _, step = planned(root)
    _, _, context = converted(root, tmp_path / "work", change, step)
    assert context.codes == ["MB723"]
    assert "differ from run to run" in context.findings[0].message


def test_inputs_too_large_to_be_made_up_are_told(root: Path, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    save(model([node], {"w": values(64, 64)}, [floats("x", 1 << 20, 64)], [floats("y", 1 << 20, 64)]), root / "m.onnx")
    (change,), _, step = planned(root)
    details, _, context = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"]["why"] == "its inputs are too large to be made up"
    assert context.codes == ["MB723"]


@pytest.mark.parametrize("kind", ["whole numbers", "a sequence", "not finite"])
def test_outputs_that_no_cosine_judges_prove_nothing(root: Path, tmp_path: Path, kind: str) -> None:
    made = embedder()
    del made.graph.output[:]
    if kind == "whole numbers":
        made.graph.node.append(helper.make_node("ArgMax", ["y"], ["z"], axis=1))
        made.graph.output.append(helper.make_tensor_value_info("z", TensorProto.INT64, ["batch", 1]))
    elif kind == "a sequence":
        made.graph.node.append(helper.make_node("SequenceConstruct", ["y"], ["z"]))
        made.graph.output.append(helper.make_tensor_sequence_value_info("z", TensorProto.FLOAT, None))
    else:
        made.graph.node.append(helper.make_node("Add", ["y", "nan"], ["z"]))
        made.graph.initializer.append(numpy_helper.from_array(np.array(np.nan, np.float32), "nan"))
        made.graph.output.append(floats("z", "batch", 64))
    save(made, root / "m.onnx")
    (change,), _, step = planned(root)
    details, _, context = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"] == {"inputs": None, "why": "no output holds a finite floating-point number"}
    assert context.codes == ["MB723"]


def test_large_models_are_checked_by_their_structure_alone(root: Path, tmp_path: Path) -> None:
    save(embedder(), root / "m.onnx")
    (change,), _, step = planned(root, max_opened=1000)
    details, target, context = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"] == {"inputs": None, "why": "93.2 kB are more than `max-opened`"} or context.codes == ["MB723"]
    assert "max-opened" in context.findings[0].message
    assert (target / "m.onnx").exists()
    changes, _, _ = planned(root, dtype="dynamic", max_opened=1000)
    assert "more than dynamic quantization may take" in reasons(changes)["m.onnx"]


def test_slimming_folds_constants_and_leaves_out_what_nothing_uses(root: Path, tmp_path: Path) -> None:
    made = embedder()
    made.graph.initializer.append(numpy_helper.from_array(values(64, 128), "unused"))
    made.graph.node.insert(0, helper.make_node("Identity", ["words"], ["same"]))
    made.graph.node[1].input[0] = "same"
    path = save(made, root / "m.onnx")
    step = OnnxSlim(OnnxSlimOptions())
    (change,), _, _ = planned(root, step)
    details, target, context = converted(root, tmp_path / "work", change, step)
    before, after = details["m.onnx"]["nodes"]
    assert after < before == 7
    assert details["m.onnx"]["comparison"]["cosine"] == 1.0
    assert (target / "m.onnx").stat().st_size < path.stat().st_size - 64 * 128 * 4 + 1000
    assert context.codes == []
    changes, _, _ = planned(root, OnnxSlim(OnnxSlimOptions(max_size=1000)))
    assert "more than `max-size`" in reasons(changes)["m.onnx"]
    save(embedder(), root / "m.onnx")
    with pytest.raises(KeptError, match="not smaller"):
        converted(root, tmp_path / "again", change, step)


def test_generated_tokens_are_of_the_vocabulary(root: Path, tmp_path: Path) -> None:
    """ROWS is less than what token numbers are made up of where no table tells."""
    assert ROWS < 100
    save(embedder(), root / "m.onnx")
    (change,), _, step = planned(root)
    details, _, _ = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"]["samples"] == 3


def test_dimensions_of_one_name_are_made_alike(root: Path, tmp_path: Path) -> None:
    node = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "z"], ["y"])]
    made = model(node, {"w": values(64, 64)}, [floats("x", "n", "k", 64), floats("z", "n", "k", 64)], [floats("y", "n", "k", 64)])
    save(made, root / "m.onnx")
    (change,), _, step = planned(root)
    details, _, context = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"]["samples"] == 3
    assert context.codes == []


def test_whole_numbers_are_compared_by_how_many_are_equal(root: Path, tmp_path: Path) -> None:
    made = embedder()
    made.graph.node.append(helper.make_node("ArgMax", ["y"], ["best"], axis=-1, keepdims=0))
    made.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, ["batch"]))
    save(made, root / "m.onnx")
    (change,), _, step = planned(root)
    details, _, _ = converted(root, tmp_path / "work", change, step)
    assert details["m.onnx"]["comparison"]["equal"] == 1.0


@pytest.mark.parametrize("options", [OnnxQuantizeOptions, OnnxSlimOptions])
def test_every_option_has_its_sentence(options: type) -> None:
    assert all(each.metadata["doc"].endswith(".") for each in fields(options))


def test_the_libraries_that_decide_a_result_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(OnnxQuantize(OnnxQuantizeOptions()).programs()) == ["ml-dtypes", "numpy", "onnx", "onnxruntime"]
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent)])
    with pytest.raises(MissingLibraryError, match=r"onnx_slim needs the library numpy; pip install 'mlbundle-onnx\[slim\]'"):
        OnnxSlim(OnnxSlimOptions()).programs()


def test_registering_imports_nothing_heavy() -> None:
    code = "import sys, mlbundle_onnx.hooks; print(sorted({'numpy', 'onnx', 'onnxruntime', 'google.protobuf'} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_changed_model_stays_a_plain_file(root: Path, tmp_path: Path) -> None:
    save(embedder(), root / "m.onnx")
    (change,), _, step = planned(root)
    _, target, _ = converted(root, tmp_path / "work", change, step)
    assert not (target / "m.onnx").is_symlink()
    assert (target / "m.onnx").stat().st_nlink == 1
    assert isinstance(change, Convert)
    assert not isinstance(change, Keep)


@pytest.mark.parametrize("options", [OnnxQuantizeOptions, OnnxSlimOptions])
def test_every_option_is_in_the_documentation(options: type) -> None:
    text = (Path(__file__).parents[3] / "docs" / "onnx.md").read_text(encoding="utf-8")
    own = {each.name for each in fields(options)} - {each.name for each in fields(Options)}
    assert [name for name in own if f"| `{name.replace('_', '-')}` |" not in text] == []
