"""Load a transformers folder by the architecture that its config.json names; nothing is fetched, no code of the folder is run."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from .errors import RefusedError, innermost
from .loading import Calling

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def load_folder(folder: Path, names: tuple[str, ...] = ()) -> tuple[Calling, list[dict[str, Any]]]:
    """Return the model and its inputs: those in `names`, else what a text model takes, as samples.py reads them."""
    model = load_pretrained(folder)
    accepted = inspect.signature(model.forward).parameters
    known = names or tuple(name for name in TEXT_INPUTS if name in accepted and _has(model.config, name))
    unknown = [name for name in known if name not in accepted]
    if unknown or ("input_ids" not in accepted and not names):
        lacking = f"has no input {unknown[0]!r}" if unknown else "is no text model"
        raise RefusedError(f"{type(model).__name__} {lacking}; name its inputs in `inputs`: {', '.join(accepted)}")
    fixed: dict[str, Any] = {"return_dict": True} if "return_dict" in accepted else {}
    fixed |= {"use_cache": False} if "use_cache" in accepted else {}
    return Calling(model, known, fixed), [_text_input(name, model.config) for name in known if not names]


def load_pretrained(folder: Path) -> Any:
    """Return the model of a folder, in float32, with every weight of it found; raises RefusedError."""
    import transformers

    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    cls = getattr(transformers, named[0], None) if named and isinstance(named[0], str) else transformers.AutoModel
    if cls is None or not hasattr(cls, "from_pretrained"):
        raise RefusedError(f"config.json names the architecture {named[0]!r}, which transformers {transformers.__version__} does not have")
    try:
        model, told = cls.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, weights_only=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        raise RefusedError(f"transformers cannot load it ({innermost(error)})") from error
    missing = sorted(told.get("missing_keys", ()))
    if missing:
        raise RefusedError(f"{len(missing)} weights of {cls.__name__} are not in the file, {missing[0]} for one")
    return model.eval()


def _has(config: Any, name: str) -> bool:
    return name != "token_type_ids" or getattr(config, "type_vocab_size", 0) > 1


def _text_input(name: str, config: Any) -> dict[str, Any]:
    high = {"input_ids": config.vocab_size, "token_type_ids": getattr(config, "type_vocab_size", 2)}.get(name, 2)
    longest = min(getattr(config, "max_position_embeddings", 512) - 2, 512)
    lengths = sorted({min(length, longest) for length in (7, 16, 33, 128)})
    sizes = {"batch": [2, 1, 3], "sequence": [lengths.pop(1) if len(lengths) > 1 else lengths.pop(), *lengths]}
    axes = [{"name": axis, "sizes": sizes[axis]} for axis in ("batch", "sequence")]
    return {"name": name, "dtype": "int64", "high": high, "axes": axes}
