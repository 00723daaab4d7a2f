"""Names for models outside their application: names of files, of environment variables, and no two the same in either."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from posixpath import basename, dirname

from hatch_mlbundle.runtime.models.descriptor import FILE_NAME

_ANYTHING = re.compile(
    r"(?:pytorch_|diffusion_pytorch_|saved_|tf_|ggml-)?models?|weights?|checkpoints?|snapshots?|onnx|best|last|final|data|assets?|files?|_internal"
    r"|[0-9a-f]{7,64}|v?\d+(?:\.\d+)*|main|default|\.?",
    re.IGNORECASE,
)
"""What is called so may be any model: the folder above says more."""
_CACHED = re.compile(r"(?:.*/)?models--(?:[^/]*--)?([^/]+)/snapshots/[^/]+")
"""A revision in a cache of huggingface_hub: its repository has the name."""
_RESERVED = re.compile(rf"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|{re.escape(FILE_NAME)}", re.IGNORECASE)
"""Names that Windows keeps to itself (Microsoft, "Naming Files, Paths, and Namespaces"), and that of the descriptor beside models."""
_LONGEST = 80


def unique_names(models: Sequence[tuple[str, str]], taken: Mapping[str, str]) -> list[str]:
    """Return a name for each path that comes without one; names given stay. `taken` are names in use, by the paths that have them."""
    used = {key_of(name) for _, name in models if name} | {key_of(name) for name in taken.values()}
    names = []
    for path, given in models:
        name = given or taken.get(path) or _free(_plain(path), used)
        used.add(key_of(name))
        names.append(name)
    return names


def key_of(name: str) -> str:
    """Return what tells a name from others in environment variables and on file systems that do not tell cases apart."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def is_name(name: str) -> bool:
    """Say whether a model can be called so."""
    return _clean(name) == name


def _plain(path: str) -> str:
    """Return what a person would call the model at a path: the last part that says something."""
    if match := _CACHED.fullmatch(path):
        return _clean(match[1]) or "model"
    part = re.sub(r"\.\w+$", "", basename(path)) if dirname(path) else basename(path).partition(".")[0]
    while path:
        if not _ANYTHING.fullmatch(part):
            return _clean(part) or "model"
        path = dirname(path)
        part = basename(path)
    return "model"


def _clean(text: str) -> str:
    """Return a text with nothing in it that a file's name, a URL or a shell would trip over."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:_LONGEST].strip(".-")
    name = re.sub(r"\.tar$", "-tar", name)
    return f"model-{name}" if _RESERVED.fullmatch(name) else name


def _free(name: str, used: set[str]) -> str:
    number, free = 1, name
    while key_of(free) in used:
        number += 1
        free = f"{name}-{number}"
    return free
