"""How much of a model may be made smaller, by its graph alone."""

from __future__ import annotations

from hatch_mlbundle.optimizer import Json

from .choosing import SMALLEST
from .external import count_of, size_of, type_of
from .modelfile import Model, tensors


def weigh(model: Model) -> dict[str, Json]:
    """Return the number of large weights, their bytes, and their bytes by data type; raises ModelError for sizes that cannot be."""
    if model.proto.training_info:
        return {"weights": 0, "types": {}, "why": "it holds training information, which names weights"}
    types: dict[str, int] = {}
    number = 0
    for tensor in tensors(model):
        if len(tensor.dims) >= 2 and type_of(tensor) in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16") and count_of(tensor) >= SMALLEST:
            number += 1
            types[type_of(tensor)] = types.get(type_of(tensor), 0) + size_of(tensor)
    return {"weights": number, "types": dict(sorted(types.items()))}
