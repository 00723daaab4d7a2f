"""Let onnxruntime quantize dynamically: weights in int8, and what they are multiplied with rounded to int8 as the model runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hatch_mlbundle.errors import KeptError, ModelError, ProgramError
from hatch_mlbundle.globs import selector
from hatch_mlbundle.optimizer import Json

from .embedding import embed
from .external import count_of, size_of
from .isolation import call, one_line
from .modelfile import Model, Weight, read_model

if TYPE_CHECKING:
    from .conversion import Conversion
    from .quantize import OnnxQuantizeOptions

_OPS = ("MatMul",)
"""What is quantized unless told otherwise: convolutions get slower on many processors, and lookups gain no speed."""

_INTEGER = ("MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "DequantizeLinear")


def quantize(work: Conversion, options: OnnxQuantizeOptions, folder: Path) -> dict[str, Json]:
    """Write the quantized model into the folder; raises KeptError where nothing was quantized, ModelError where onnxruntime fails."""
    model = read_model(work.original.path, work.original.files)
    target = folder / work.path
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = selector(options.keep, ()) if options.keep else None
    nodes = [node.name for scope in model.scopes for node in scope.body.node if kept and node.name and kept(node.name)]
    nodes += [f"{name}_MatMul" for name in nodes]  # what quantize_dynamic makes of a Gemm
    scratch = work.folder("work")
    whole = scratch / "whole.onnx"
    embed(work.original.path, work.original.files, whole)
    try:
        call(
            scratch,
            "quantize_dynamic",
            model=str(whole),
            target=str(target),
            ops=list(options.ops or _OPS),
            keep=nodes,
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
        )
    except ProgramError as error:
        raise ModelError(f"onnxruntime's quantize_dynamic: {one_line(str(error), target.parent)}") from error
    whole.unlink()
    result = read_model(target, {})
    if not any(node.op_type in _INTEGER for scope in result.scopes for node in scope.body.node):
        raise KeptError("quantize_dynamic finds nothing to quantize")
    return {"dtype": "dynamic", "tensors": list(_rows(model, result))}


def _rows(before: Model, after: Model) -> Iterator[dict[str, Json]]:
    """Yield a row for each weight that is int8 now."""
    results = {weight.name: weight for weight in after.weights}
    for weight in before.weights:
        stored = results.get(f"{weight.name}_quantized")
        scale, zero = (results.get(f"{weight.name}_{what}") for what in ("scale", "zero_point"))
        if stored is None or scale is None or zero is None:
            continue
        size = size_of(stored.tensor) + size_of(scale.tensor) + size_of(zero.tensor)
        channels = count_of(scale.tensor)
        yield {
            "name": weight.name,
            "shape": list(weight.tensor.dims),
            "before": "F32",
            "after": "I8 by column" if channels > 1 else "I8",
            "size": [size_of(weight.tensor), size],
            "sqnr": _sqnr(_array(weight), _array(stored), _array(scale), _array(zero)),
        }


def _sqnr(before: Any, stored: Any, scale: Any, zero: Any) -> float | None:
    """Return the ratio in dB, the scales being those of the last axis, or of whichever fits."""
    axis = next((axis for axis in reversed(range(before.ndim)) if before.shape[axis] == scale.size), before.ndim - 1)
    shape = [1] * before.ndim
    shape[axis] = scale.size
    after = (stored.astype(np.float32) - zero.reshape(shape).astype(np.float32)) * scale.reshape(shape)
    noise = float(np.square(before.astype(np.float64) - after).sum())
    signal = float(np.square(before.astype(np.float64)).sum())
    return round(float(10 * np.log10(signal / noise)), 2) if noise and signal else None


def _array(weight: Weight) -> Any:
    """Return a weight's values; one of a model that fits into memory."""
    from onnx import TensorProto, numpy_helper

    tensor = TensorProto()
    tensor.CopyFrom(weight.tensor)
    if weight.data is not None:
        with weight.data.path.open("rb") as stream:
            stream.seek(weight.data.start)
            del tensor.external_data[:]
            tensor.ClearField("data_location")
            tensor.raw_data = stream.read(weight.data.length)
    return numpy_helper.to_array(tensor)
