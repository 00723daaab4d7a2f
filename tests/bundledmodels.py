"""Models of every sort as libraries save them, made small: real safetensors, ONNX and zip files, the rest by their names."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import safetensors.numpy

TENSORS = {"layer.weight": np.arange(64, dtype=np.float32).reshape(8, 8)}


def safetensors_file(scale: float = 1.0) -> bytes:
    return safetensors.numpy.save({name: values * np.float32(scale) for name, values in TENSORS.items()})


def torch_file() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02}.")
    return stream.getvalue()


def onnx_files(name: str, *, outside: str | None = None) -> dict[str, bytes]:
    """Return an ONNX model that multiplies by a matrix, its tensor in the file or `outside`, in a file of that name."""
    matrix = onnx.numpy_helper.from_array(TENSORS["layer.weight"], "matrix")
    files = {}
    if outside:
        files[outside] = matrix.raw_data
        onnx.external_data_helper.set_external_data(matrix, location=outside)
        matrix.ClearField("raw_data")
        matrix.data_location = onnx.TensorProto.EXTERNAL
    value = [onnx.helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, [1, 8]) for each in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "matrix"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", value[:1], value[1:], [matrix])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    return {name: model.SerializeToString(), **files}


def transformers_files(scale: float = 1.0) -> dict[str, bytes]:
    config = json.dumps({"model_type": "bert"}).encode()
    return {"config.json": config, "model.safetensors": safetensors_file(scale), "tokenizer.json": b"{}", "vocab.txt": b"a\nb\n"}


def below(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{path}": data for path, data in files.items()}


def write_files(root: Path, files: Mapping[str, bytes | str]) -> Path:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data if isinstance(data, bytes) else data.encode())
    return root
