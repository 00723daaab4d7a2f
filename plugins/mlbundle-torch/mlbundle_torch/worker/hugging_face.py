"""Load a transformers folder by the architecture that its config.json names; nothing is fetched, no code of the folder is run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .errors import RefusedError, innermost
from .loading import Calling

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


SENTENCE = "sentence_embedding"
"""The output that a sentence-transformers model has beyond its transformer: what pooling and normalizing make of it."""


class Sentences(torch.nn.Module):
    """A sentence-transformers model whose inputs are arguments instead of the entries of one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, **features: torch.Tensor) -> Any:
        """Run all of its modules."""
        return self.model.forward(features)


def load_folder(folder: Path, names: tuple[str, ...] = (), outputs: Sequence[str] = ()) -> tuple[Calling, list[dict[str, Any]]]:
    """Return the model and its inputs: those in `names`, else what a text model takes, as samples.py reads them.

    Where the `outputs` have a sentence's embedding, the model is all of the sentence-transformers model in the folder.
    """
    whole = _load_sentences(folder) if SENTENCE in outputs else None
    model = whole.model[0].auto_model if whole else load_pretrained(folder)
    accepted = inspect.signature(model.forward).parameters
    known = names or tuple(name for name in TEXT_INPUTS if name in accepted and _has(model.config, name))
    unknown = [name for name in known if name not in accepted]
    if unknown or ("input_ids" not in accepted and not names):
        lacking = f"has no input {unknown[0]!r}" if unknown else "is no text model"
        raise RefusedError(f"{type(model).__name__} {lacking}; name its inputs in `inputs`: {', '.join(accepted)}")
    specs = [_text_input(name, model.config) for name in known if not names]
    if whole:
        return Calling(whole, known), specs
    fixed: dict[str, Any] = {"return_dict": True} if "return_dict" in accepted else {}
    fixed |= {"use_cache": False} if "use_cache" in accepted else {}
    return Calling(model, known, fixed), specs


def _load_sentences(folder: Path) -> Sentences:
    from sentence_transformers import SentenceTransformer

    if not (folder / "modules.json").is_file():
        raise RefusedError(f"has no modules.json, so that it is no sentence-transformers model with a {SENTENCE}")
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise RefusedError(f"sentence-transformers cannot load it ({innermost(error)})") from error
    return Sentences(model.float().eval())


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
