"""Small ONNX models for the tests, and a way to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, SIZE = 96, 64


def values(*dims: int, seed: int = 0, scale: float = 0.05) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(dims) * scale).astype(np.float32)


def model(
    nodes: Sequence[Any],
    weights: Mapping[str, np.ndarray | Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    opset: int = 17,
    ir_version: int = 8,
    **more: Any,
) -> onnx.ModelProto:
    """Return a model of these nodes; `weights` are initializers by name, as arrays or tensors."""
    tensors = [each if isinstance(each, TensorProto) else numpy_helper.from_array(each, name) for name, each in weights.items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, **more)


def floats(name: str, *dims: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))


def integers(name: str, *dims: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.INT64, list(dims))


def embedder(**more: Any) -> onnx.ModelProto:
    """Return a table of words, a layer by MatMul, one by Gemm with its weights the other way round, and a small bias."""
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["x"]),
        helper.make_node("MatMul", ["x", "dense"], ["h"]),
        helper.make_node("Add", ["h", "bias"], ["b"]),
        helper.make_node("Tanh", ["b"], ["t"]),
        helper.make_node("ReduceMean", ["t"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["m", "out"], ["y"], transB=1),
    ]
    weights = {
        "words": values(ROWS, SIZE, seed=1),
        "dense": values(SIZE, 2 * SIZE, seed=2),
        "bias": values(2 * SIZE, seed=3),
        "out": values(SIZE, 2 * SIZE, seed=4),
    }
    return model(nodes, weights, [integers("input_ids", "batch", "tokens")], [floats("y", "batch", SIZE)], **more)


def save(made: onnx.ModelProto, path: Path, data: str | None = None) -> Path:
    """Write a model, all its weights as external data where `data` names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is None:
        path.write_bytes(made.SerializeToString())
    else:
        copy = onnx.ModelProto.FromString(made.SerializeToString())
        onnx.save(copy, path, save_as_external_data=True, location=data, size_threshold=1024)
    return path


def run(path: Path, **feed: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    result: list[np.ndarray] = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feed)
    return result


def tokens(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, rows, (3, 9))


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def stored_types(path: Path) -> dict[str, int]:
    """Return the data type of each initializer, by name."""
    return {each.name: each.data_type for each in onnx.load(path, load_external_data=False).graph.initializer}
