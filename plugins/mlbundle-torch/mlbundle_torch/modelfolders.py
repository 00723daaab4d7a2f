"""Which files of a bundle are the weights of a transformers model (its folder has a config.json beside them)."""

from __future__ import annotations

import re
from posixpath import basename, dirname

from hatch_mlbundle.model import Bundle

_SAFETENSORS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
_PICKLES = re.compile(r"pytorch_model(-\d{5}-of-\d{5})?\.bin(\.index\.json)?")


def config_beside(bundle: Bundle, path: str) -> str | None:
    """Return the path of the config.json in a file's folder, None where there is none or the file is not transformers' own weights."""
    config = in_folder(dirname(path), "config.json")
    names = (_SAFETENSORS, _PICKLES)
    return config if config in bundle and any(name.fullmatch(basename(path)) for name in names) else None


def weight_files(bundle: Bundle, folder: str) -> tuple[str, ...]:
    """Return the weights that transformers loads from a folder, with their index: safetensors, or else what torch.save wrote."""
    for pattern in (_SAFETENSORS, _PICKLES):
        found = sorted(path for path in bundle if dirname(path) == folder and pattern.fullmatch(basename(path)))
        if found:
            return tuple(sorted(found, key=lambda path: (path.endswith(".json"), path)))
    return ()


def in_folder(folder: str, name: str) -> str:
    """Return the path of a name in a folder, "" being the bundle's root."""
    return f"{folder}/{name}" if folder else name
