"""Models in several safetensors files, and the index that says which tensor is in which (huggingface_hub, `_torch.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.json_text import read_object, with_value

INDEX_SUFFIX = ".safetensors.index.json"
"""What an index's name ends in."""

LARGEST_INDEX = 100_000_000
"""Bytes of the largest index that is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index file: `shards` gives the names of the tensors in each file of the same folder; `has_size` says whether it has the total."""

    shards: Mapping[str, tuple[str, ...]]
    has_size: bool


def read_index(text: str, name: str) -> Index:
    """Return what an index says; raises ModelError, with its name, where it is no index or names a file outside its folder."""
    parsed = read_object(text, name)
    weights = parsed.get("weight_map")
    if not isinstance(weights, dict) or not weights or not all(isinstance(each, str) for each in weights.values()):
        raise ModelError(f"{name}: has no weight_map from tensors to files")
    shards: dict[str, list[str]] = {}
    for tensor, file in weights.items():
        shards.setdefault(file, []).append(tensor)
    for file in shards:
        if "/" in file or "\\" in file or not file.endswith(".safetensors"):
            raise ModelError(f"{name}: its weight_map names {ascii(file)[:80]}, which is no safetensors file of its folder")
    metadata = parsed.get("metadata")
    has_size = isinstance(metadata, dict) and isinstance(metadata.get("total_size"), (int, float))
    return Index(shards={file: tuple(names) for file, names in sorted(shards.items())}, has_size=has_size)


def check_shard(name: str, listed: Iterable[str], held: Iterable[str]) -> None:
    """Raise ModelError where a shard does not hold the tensors that its index lists for it."""
    missing = sorted(set(listed) - set(held))
    if missing:
        raise ModelError(f"{name}: does not hold tensor {ascii(missing[0])[:80]}, which its index says it does")


def with_total_size(text: str, index: Index, size: int) -> str:
    """Return an index's text with the bytes of all tensors, where it has such a number."""
    return with_value(text, ("metadata", "total_size"), size) if index.has_size else text
