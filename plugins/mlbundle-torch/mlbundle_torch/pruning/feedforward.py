"""Where known architectures have their feed-forward layers: what has to go with a neuron, and which key of config.json counts them.

Names as transformers (5.24) writes them. A neuron of a layer is a row of each of the `rows` tensors, and a column of the `columns` one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hatch_mlbundle.errors import KeptError
from hatch_mlbundle.models.safetensors import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """How some model types name their feed-forward layers; a tensor is `layer`, a dot, and one of `rows` or `columns`."""

    model_types: tuple[str, ...]
    size_key: str
    layer: str
    rows: tuple[str, ...]
    columns: str


FAMILIES = (
    FeedForward(
        model_types=("bert", "camembert", "data2vec-text", "deit", "electra", "ernie", "mpnet", "roberta", "vit", "xlm-roberta"),
        size_key="intermediate_size",
        layer=r".*encoder\.layer\.\d+",
        rows=("intermediate.dense.weight", "intermediate.dense.bias"),
        columns="output.dense.weight",
    ),
    FeedForward(
        model_types=("distilbert",),
        size_key="hidden_dim",
        layer=r".*transformer\.layer\.\d+",
        rows=("ffn.lin1.weight", "ffn.lin1.bias"),
        columns="ffn.lin2.weight",
    ),
    FeedForward(
        model_types=("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3", "smollm3"),
        size_key="intermediate_size",
        layer=r".*layers\.\d+",
        rows=("mlp.gate_proj.weight", "mlp.gate_proj.bias", "mlp.up_proj.weight", "mlp.up_proj.bias"),
        columns="mlp.down_proj.weight",
    ),
)
"""What is known. For a family more, add a row here and a test that transformers loads the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One feed-forward layer: the tensors whose rows, and the one whose columns are its neurons."""

    rows: tuple[Tensor, ...]
    columns: Tensor


def family_of(config: Mapping[str, Any]) -> FeedForward:
    """Return how a model names its layers; raises KeptError for one that is not known."""
    kind = config.get("model_type")
    for family in FAMILIES:
        if kind in family.model_types:
            return family
    known = ", ".join(sorted(each for family in FAMILIES for each in family.model_types))
    raise KeptError(f"no layers of the model type {kind!r} can be pruned; there are {known}")


def find_layers(family: FeedForward, config: Mapping[str, Any], tensors: Iterable[Tensor]) -> list[Layer]:
    """Return a model's feed-forward layers; raises KeptError unless all are there and as wide as config.json says."""
    size = config.get(family.size_key)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise KeptError(f"config.json has no {family.size_key}, by which its layers could be pruned")
    by_name = {tensor.name: tensor for tensor in tensors}
    prefixes = sorted({name.removesuffix(f".{family.columns}") for name in by_name if _is_columns(family, name)})
    layers = [_layer(family, prefix, by_name) for prefix in prefixes]
    wrong = [layer.columns.name for layer in layers if not _is_as_wide(layer, size)]
    expected = config.get("num_hidden_layers", config.get("n_layers"))
    if wrong or not layers or (expected is not None and expected != len(layers)):
        what = f"{wrong[0]} is not {size} wide" if wrong else f"{len(layers)} feed-forward layers are found, not {expected}"
        raise KeptError(f"the weights are not what config.json says: {what}")
    return layers


def _is_columns(family: FeedForward, name: str) -> bool:
    return re.fullmatch(family.layer + re.escape(f".{family.columns}"), name) is not None


def _layer(family: FeedForward, prefix: str, by_name: Mapping[str, Tensor]) -> Layer:
    names = [f"{prefix}.{each}" for each in family.rows]
    missing = [name for name in names if name not in by_name and name.endswith(".weight")]
    if missing:
        raise KeptError(f"{missing[0]} is not there, so that its layer cannot be pruned")
    return Layer(rows=tuple(by_name[name] for name in names if name in by_name), columns=by_name[f"{prefix}.{family.columns}"])


def _is_as_wide(layer: Layer, size: int) -> bool:
    return len(layer.columns.shape) == 2 and layer.columns.shape[1] == size and all(each.shape[:1] == (size,) for each in layer.rows)
