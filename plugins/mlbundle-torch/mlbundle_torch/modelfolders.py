"""Which files of a bundle are the weights of a transformers model (its folder has a config.json beside them)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from posixpath import basename, dirname

from hatch_mlbundle.model import Bundle

_SAFETENSORS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_PICKLES = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin(\.index\.json)?")
_OTHERS = re.compile(r"(adapter_model|flax_model|model|pytorch_model|tf_model)\b.*\.(bin|h5|msgpack|safetensors)")

_LONGEST_CONFIG = 10**7


def is_model_folder(bundle: Bundle, folder: str, files: Collection[str]) -> bool:
    """Say whether a folder is a transformers model, of whose weights some are among `files`: its config.json names a model."""
    config = bundle.get(in_folder(folder, "config.json"))
    if config is None or config.size > _LONGEST_CONFIG or not set(weight_files(bundle, folder)) & set(files):
        return False
    try:
        settings = json.loads(config.read())
    except (ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and bool(settings.get("model_type") or settings.get("architectures"))


def weight_files(bundle: Bundle, folder: str) -> tuple[str, ...]:
    """Return the weights that transformers loads from a folder, with their index: safetensors, or else what torch.save wrote."""
    for pattern in (_SAFETENSORS, _PICKLES):
        found = sorted(path for path in bundle if dirname(path) == folder and pattern.fullmatch(basename(path)))
        if found:
            return tuple(sorted(found, key=lambda path: (path.endswith(".json"), path)))
    return ()


def other_weights(bundle: Bundle, folder: str, weights: Collection[str]) -> list[str]:
    """Return the weights in a folder beyond those named that the same config.json describes: of other libraries, variants, adapters."""
    return sorted(path for path in bundle if dirname(path) == folder and path not in weights and _OTHERS.fullmatch(basename(path)))


def in_folder(folder: str, name: str) -> str:
    """Return the path of a name in a folder, "" being the bundle's root."""
    return f"{folder}/{name}" if folder else name
