"""The network: its weights from a safetensors file, its layers from the compiled extension."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import count, takewhile
from math import prod

from digit_reader._layers import argmax, dense

IMAGE_SIZE = 64
"""Pixels of an image, 8x8 row by row, each from 0 (paper) to 16 (ink)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """32-bit floats: `weight` has one row for each result."""

    weight: memoryview
    bias: memoryview


@dataclass(frozen=True, slots=True)
class Model:
    """Dense layers, with a ReLU after each but the last."""

    layers: tuple[Layer, ...]

    def predict(self, pixels: Iterable[int]) -> int:
        """Return the digit that an image shows; raises ValueError for a wrong number of pixels."""
        values: array[float] | bytes = array("f", (pixel / 16 for pixel in pixels))
        for layer in self.layers:
            values = dense(values, layer.weight, layer.bias, relu=layer is not self.layers[-1])
        return argmax(values)


def load_model() -> Model:
    """Return the network that comes with the package."""
    tensors = read_safetensors(files("digit_reader").joinpath("weights.safetensors").read_bytes())
    names = takewhile(lambda name: f"{name}.weight" in tensors, map(str, count()))
    return Model(tuple(Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names))


def read_safetensors(content: bytes) -> Mapping[str, memoryview]:
    """Return the bytes of each tensor; raises ValueError where these are no 32-bit floats in the safetensors format.

    The format: a little-endian length of 8 bytes, a JSON header of that length, then the tensors' bytes.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    if len(content) < 8 or start > len(content):
        raise ValueError("the header is longer than the file")
    header = json.loads(content[8:start])
    data = memoryview(content)[start:]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        if entry["dtype"] != "F32" or not 0 <= first <= last <= len(data) or last - first != 4 * prod(entry["shape"]):
            raise ValueError(f"{name}: no 32-bit floats within the file")
        tensors[name] = data[first:last]
    return tensors
