"""Which files of weights belong together, and what their like is called in safetensors.

Source: transformers/utils/__init__.py (`WEIGHTS_NAME`, `WEIGHTS_INDEX_NAME`, `SAFE_WEIGHTS_NAME`, ...) and `_add_variant`; diffusers and
peft call both by one name. An index is JSON: `weight_map` says for each tensor the file of the same folder that it is in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from posixpath import basename, dirname, join
from typing import Any

from hatch_mlbundle.errors import ModelError

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
"""How the names of PyTorch files end."""

LARGEST_INDEX = 50_000_000
"""Bytes of the largest index that is read."""

_VARIANT_AND_SHARD = r"(?P<variant>(?:\.[a-zA-Z_][\w]*)?)(?P<shard>(?:-\d{5}-of-\d{5})?)"
_TORCH = re.compile(rf"(?P<base>pytorch_model|diffusion_pytorch_model|adapter_model){_VARIANT_AND_SHARD}\.bin")
_SAFETENSORS = re.compile(rf"(?P<base>model|diffusion_pytorch_model|adapter_model){_VARIANT_AND_SHARD}\.safetensors")
_INDEX = re.compile(r"(?P<base>pytorch_model|diffusion_pytorch_model)\.bin\.index(?P<variant>(?:\.[\w-]+)?)\.json")
_RENAMED = {"pytorch_model": "model"}


@dataclass(frozen=True, slots=True)
class Family:
    """The weights of one model, in whatever form: those of which transformers, diffusers and peft load one, safetensors first."""

    folder: str
    base: str
    variant: str


def family(path: str) -> Family | None:
    """Return whose weights a file holds by its name, or is the index of; None where no library goes by the name."""
    name = basename(path)
    match = _TORCH.fullmatch(name) or _SAFETENSORS.fullmatch(name) or _INDEX.fullmatch(name)
    return match and Family(dirname(path), _RENAMED.get(match["base"], match["base"]), match["variant"])


def safetensors_found(kin: Family) -> tuple[str, str]:
    """Return the paths by one of which libraries find a model's safetensors: the only file's, and the index's over several."""
    return (
        join(kin.folder, f"{kin.base}{kin.variant}.safetensors"),
        join(kin.folder, f"{kin.base}.safetensors.index{kin.variant}.json"),
    )


def is_index(path: str) -> bool:
    """Say whether a path is that of an index of shards of PyTorch weights."""
    return _INDEX.fullmatch(basename(path)) is not None


def safetensors_path(path: str) -> str:
    """Return what a PyTorch file, or an index of some, is called when it is safetensors."""
    name = basename(path)
    if index := _INDEX.fullmatch(name):
        new = f"{_RENAMED.get(index['base'], index['base'])}.safetensors.index{index['variant']}.json"
    elif weights := _TORCH.fullmatch(name):
        new = f"{_RENAMED.get(weights['base'], weights['base'])}{weights['variant']}{weights['shard']}.safetensors"
    else:
        new = f"{name.rpartition('.')[0]}.safetensors"
    return join(dirname(path), new)


def read_index(path: str, data: bytes) -> Mapping[str, Any]:
    """Return an index whose `weight_map` names files of the same folder; raises ModelError where it cannot be believed."""
    try:
        parsed: Any = json.loads(data)
        places = parsed["weight_map"].values()
        sound = isinstance(parsed.get("metadata", {}), dict) and not any(re.search(r"[/\\\x00-\x1f]|^\.*$", place) for place in places)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ModelError(f"{path}: is no index of shards: it has no `weight_map` from tensors to files of its folder")
    return dict(parsed)


def new_index(index: Mapping[str, Any], places: Mapping[str, str], total_size: int) -> bytes:
    """Return an index like `index` whose tensors are in other files, as transformers writes it (`save_pretrained`)."""
    metadata = {**index.get("metadata", {}), "total_size": total_size}
    text = json.dumps({"metadata": metadata, "weight_map": dict(places)}, indent=2, sort_keys=True)
    return f"{text}\n".encode()
