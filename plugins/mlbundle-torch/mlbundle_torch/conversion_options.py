"""`[tool.mlbundle.torch_to_onnx]`: which models are converted, and what their inputs look like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hatch_mlbundle.optimizer import Json, Options, option
from hatch_mlbundle.schema import Size

from .shapes import axis_faults, parse_shape, to_requests

TABLE = "tool.mlbundle.torch_to_onnx"

OPSET = 20
"""The exporter's own default in torch 2.13 (torch.onnx._constants, ONNX_DEFAULT_OPSET); onnxruntime reads it since 1.17."""

LOWEST_OPSET, HIGHEST_OPSET = 15, 26
"""What the exporter of torch 2.13 writes: for others it silently writes opset 18."""

LARGEST_FILE = 2 * 10**9
"""Bytes: protobuf's limit is 2 GiB for the whole message."""

DType: TypeAlias = Literal["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"]

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One input of a model."""

    name: str = option("The input's name in the ONNX file.", default="")
    shape: str = option('Its axes, like "batch, 3, height=64|96, 224": sizes, and names of free axes.', default="")
    dtype: DType = option("Its element type.", default="float32")
    high: int = option("Integers to try it with are from 0 to below this.", default=2)


@dataclass(frozen=True, kw_only=True)
class TorchModel:
    """One model to convert, or several of one kind."""

    path: str = option("The file, or the folder of a transformers model; a glob, as in .gitignore.", default="")
    factory: str = option(
        "`package.module:callable` of the project that makes the torch.nn.Module whose weights the file holds; "
        "empty for TorchScript archives and transformers folders.",
        default="",
    )
    key: str = option("The key in the file under which the weights are, such as `state_dict`; empty where they are all of it.", default="")
    inputs: tuple[ModelInput, ...] = option("The inputs, in the order that the module takes them; text models need none.", default=())
    outputs: tuple[str, ...] = option("The outputs' names; of a module that names its outputs, those to keep.", default=())


@dataclass(frozen=True, kw_only=True)
class TorchToOnnxOptions(Options):
    """What is converted, and within which bounds."""

    models: tuple[TorchModel, ...] = option("The models to convert.", default=())
    opset: int = option("The ONNX opset to write, 15 to 26.", default=OPSET)
    drop_original: bool = option("Leave the weights out that an ONNX file was made of.", default=False)
    tolerance: float = option("Relative error of the outputs against torch's, at most; beyond it the model stays as it is.", default=1e-4)
    single_file: Size = option("Weights larger than this lie beside the ONNX file, in `.onnx.data`.", default=Size(1_800_000_000))
    python: str = option("The interpreter that has torch, relative to the project; empty means the one of the build.", default="")
    seconds: float = option("Time for one model, at most.", default=1800.0)
    memory: Size = option("Memory for one model, at most (Linux); 0 means any.", default=Size(0))


def faults(options: TorchToOnnxOptions) -> list[str]:
    """Return what is wrong beyond the types, each with its TOML path."""
    found = []
    if not LOWEST_OPSET <= options.opset <= HIGHEST_OPSET:
        found.append(f"{TABLE}.opset: must be from {LOWEST_OPSET} to {HIGHEST_OPSET}, not {options.opset}")
    if options.single_file > LARGEST_FILE:
        found.append(f"{TABLE}.single-file: must be at most 2 GB, which no ONNX file can exceed")
    found += [f"{TABLE}.{name}: must be more than 0" for name in ("tolerance", "seconds") if not getattr(options, name) > 0]
    for number, model in enumerate(options.models):
        found += [f"{TABLE}.models[{number}].{fault}" for fault in _model_faults(model)]
    return found


def input_requests(model: TorchModel) -> list[Json]:
    """Return the inputs as the worker reads them (worker/samples.py)."""
    axes = to_requests([parse_shape(each.shape) for each in model.inputs])
    return [
        {"name": each.name, "dtype": each.dtype, "high": each.high, "axes": shape} for each, shape in zip(model.inputs, axes, strict=True)
    ]


def _model_faults(model: TorchModel) -> Iterator[str]:
    from hatch_mlbundle.globs import is_glob

    if not model.path or not is_glob(model.path):
        yield f"path: {'is missing' if not model.path else f'{model.path!r} is no glob'}; name the model's file or folder"
    if model.factory and not _FACTORY.fullmatch(model.factory):
        yield f"factory: must be like 'package.module:callable', not {model.factory!r}"
    if model.factory and not model.inputs:
        yield "inputs: is missing; describe what the module takes"
    if len(set(model.outputs)) < len(model.outputs):
        yield "outputs: a name is listed twice"
    yield from _input_faults(model)


def _input_faults(model: TorchModel) -> Iterator[str]:
    shapes = []
    for number, each in enumerate(model.inputs):
        if not each.name or each.name in {other.name for other in model.inputs[:number]}:
            yield f"inputs[{number}].name: {'is there twice' if each.name else 'is missing'}"
        if each.high < 1:
            yield f"inputs[{number}].high: must be 1 or more, not {each.high}"
        try:
            shapes.append(parse_shape(each.shape))
        except ValueError as error:
            yield f"inputs[{number}].shape: {error}"
    yield from (f"inputs: {fault}" for fault in axis_faults(shapes))
