"""Make up inputs for a model: numbers of a plausible kind and size, the same ones each time.

They show that two models compute alike on something. They are a weaker proof than real samples: what a model does on noise, and with
words that follow no grammar, says little of the words that it was made for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hatch_mlbundle.errors import ModelError

from .external import type_of
from .modelfile import Model

Array = np.ndarray[Any, Any]

COUNT = 3
"""Feeds of each size."""

_SIZES = ((2, 16), (1, 64), (1, 224), (1, 1))
"""What free dimensions are taken to be, the first one of an input and all others, until the model runs."""

_LARGEST = 1 << 24
"""Elements that an input may have."""
_RANGE = 100
_SHAPE_ONLY = frozenset({"Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Identity", "Transpose", "Slice", "Expand"})
_TYPES: Mapping[str, str] = {
    "FLOAT": "f4",
    "DOUBLE": "f8",
    "FLOAT16": "f2",
    "INT8": "i1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "UINT8": "u1",
    "UINT16": "u2",
    "UINT32": "u4",
    "UINT64": "u8",
    "BOOL": "?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a graph: its numpy type; its dimensions, a name where one is free, None where it has not even that.

    `limit` is the number of rows of the table that it picks from, None where it picks from none that is known.
    """

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | str | None, ...]
    limit: int | None


def inputs_of(model: Model) -> list[Input]:
    """Return the inputs that have to be given; raises ModelError for one that nothing can be made up for."""
    graph = model.proto.graph
    constants = {each.name for each in graph.initializer}
    limits = _limits(model)
    return [_input(value, limits) for value in graph.input if value.name not in constants]


def feeds(inputs: list[Input]) -> Iterator[Iterator[list[Array]]]:
    """Yield, for each guess at the free dimensions, some lists of arrays in the order of the inputs."""
    is_free = any(not isinstance(dim, int) or dim < 1 for each in inputs for dim in each.dims)
    for first, other in _SIZES if is_free else _SIZES[:1]:
        shapes = _shapes(inputs, first, other)
        if all(np.prod(shape, dtype=np.float64) <= _LARGEST for shape in shapes):
            yield _feeds(inputs, shapes)


def _feeds(inputs: list[Input], shapes: list[tuple[int, ...]]) -> Iterator[list[Array]]:
    random = np.random.default_rng(0)
    for _ in range(COUNT):
        yield [_array(each, shape, random) for each, shape in zip(inputs, shapes, strict=True)]


def _shapes(inputs: list[Input], first: int, other: int) -> list[tuple[int, ...]]:
    """Return the shape of each input: a free dimension of one name is the same everywhere."""
    named: dict[str, int] = {}
    shapes = []
    for each in inputs:
        shape = []
        for axis, dim in enumerate(each.dims):
            guess = first if axis == 0 else other
            if isinstance(dim, str) and dim:
                shape.append(named.setdefault(dim, guess))
            else:
                shape.append(dim if isinstance(dim, int) and dim > 0 else guess)
        shapes.append(tuple(shape))
    return shapes


def _array(each: Input, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    name, kind = each.name.lower(), each.dtype.kind
    if "mask" in name:
        return np.ones(shape, each.dtype)
    if kind == "f":
        return random.standard_normal(shape).astype(each.dtype)
    if kind == "b":
        return random.integers(0, 2, shape).astype(each.dtype)
    if "position" in name and shape:
        return np.broadcast_to(np.arange(shape[-1]) % (each.limit or shape[-1]), shape).astype(each.dtype)
    if "type" in name or "segment" in name:
        return random.integers(0, min(2, each.limit or 1), shape).astype(each.dtype)
    limit = each.limit or (256 if each.dtype == np.uint8 else _RANGE)
    return random.integers(0, min(limit, np.iinfo(each.dtype).max), shape).astype(each.dtype)


def _input(value: Any, limits: Mapping[str, int]) -> Input:
    if not value.type.HasField("tensor_type"):
        raise ModelError(f"its input {value.name[:80]!r} is no tensor")
    tensor = value.type.tensor_type
    dtype = _TYPES.get(_type_name(tensor.elem_type))
    if dtype is None or not tensor.HasField("shape"):
        raise ModelError(f"nothing is known of the shape of its input {value.name[:80]!r}, or it is made of no numbers")
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim)
    return Input(name=value.name, dtype=np.dtype(dtype), dims=dims, limit=limits.get(value.name))


def _type_name(number: int) -> str:
    from onnx import TensorProto

    return type_of(TensorProto(data_type=number))


def _limits(model: Model) -> dict[str, int]:
    """Return, by input, how many rows the smallest table has that it picks from (Gather), however it is reshaped on the way."""
    graph = model.proto.graph
    sizes = {weight.name: weight.tensor.dims for weight in model.weights}
    origin = {value.name: value.name for value in graph.input}
    limits: dict[str, int] = {}
    for node in graph.node:
        first = origin.get(node.input[0]) if node.input else None
        if first is not None and node.op_type in _SHAPE_ONLY and node.output:
            origin[node.output[0]] = first
        if node.op_type == "Gather" and len(node.input) == 2 and node.input[1] in origin and node.input[0] in sizes:
            axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
            dims = sizes[node.input[0]]
            if dims and -len(dims) <= axis < len(dims):
                name = origin[node.input[1]]
                limits[name] = min(limits.get(name, dims[axis]), dims[axis])
    return limits
