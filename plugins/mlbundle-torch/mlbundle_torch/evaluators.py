"""Run transformers and sentence-transformers models on the user's samples, for [tool.mlbundle.accuracy].

A sample is `{"text": "..."}`, with a `text_pair` where there is one, or arrays by the names of the model's inputs. All runs offline, on one
thread, in float32, and each sample alone, so that no padding changes what it gives.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatch_mlbundle.accuracy.evaluator import Evaluator, Outputs, Samples

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
_TEXTS = ("text", "text_pair")


class Transformers(Evaluator):
    """Runs the folder of a transformers model by the architecture that its config.json names.

    It gives the model's `logits` where it has any, else an `embedding`: the mean of the last hidden states, of those not masked.
    """

    name = "transformers"
    version = "1"

    def programs(self) -> Mapping[str, str]:
        """Return the versions of what is installed of torch, transformers and tokenizers."""
        return _versions("torch", "transformers", "tokenizers")

    def fits(self, model: Path) -> bool:
        """Say whether it is such a folder, and transformers and torch are installed."""
        return _installed("torch", "transformers") and _is_folder(model) and not (model / "modules.json").is_file()

    def outputs(self, model: Path, samples: Samples) -> Iterable[Outputs]:
        """Yield the logits or the embedding of each sample; raises ValueError for samples that do not fit the model."""
        _settle()
        from .worker.hugging_face import load_pretrained

        loaded = load_pretrained(model)
        tokenize = _tokenizer(model) if "text" in samples.names else None
        for number, row in enumerate(samples.rows, 1):
            inputs = _inputs(row, tokenize, number)
            yield _given(_called(loaded, inputs, number), inputs.get("attention_mask"))


class SentenceTransformers(Evaluator):
    """Runs a sentence-transformers model, and gives the `embedding` of each sample."""

    name = "sentence_transformers"
    version = "1"

    def programs(self) -> Mapping[str, str]:
        """Return the versions of what is installed of torch, sentence-transformers, transformers and tokenizers."""
        return _versions("torch", "sentence-transformers", "transformers", "tokenizers")

    def fits(self, model: Path) -> bool:
        """Say whether it is such a folder, and sentence-transformers is installed."""
        return _installed("torch", "sentence_transformers") and model.is_dir() and (model / "modules.json").is_file()

    def outputs(self, model: Path, samples: Samples) -> Iterable[Outputs]:
        """Yield the embedding of each sample; raises ValueError for samples that do not fit the model."""
        _settle()
        from sentence_transformers import SentenceTransformer

        loaded = SentenceTransformer(str(model), device="cpu", local_files_only=True, trust_remote_code=False).float()
        for number, row in enumerate(samples.rows, 1):
            if "text" in row:
                yield {"embedding": loaded.encode(_text(row, "text", number), convert_to_numpy=True, show_progress_bar=False)}
            else:
                made = _called(lambda **inputs: loaded.forward(inputs), _inputs(row, None, number), number)
                yield {"embedding": made["sentence_embedding"][0].numpy()}


def _settle() -> None:
    """Make runs repeatable: nothing is fetched, one thread, the same random numbers where a model draws any."""
    os.environ.update(_OFFLINE)
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


def _tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)


def _inputs(row: Mapping[str, Any], tokenize: Any, number: int) -> dict[str, Any]:
    """Return the model's inputs for one sample, with a first axis of 1."""
    import numpy as np
    import torch

    if tokenize is not None:
        texts = [_text(row, name, number) for name in _TEXTS if name in row]
        return dict(tokenize(*texts, truncation=True, return_tensors="pt"))
    inputs = {}
    for name, value in row.items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"sample {number}: {name!r} is neither a text nor numbers; name texts `text`")
        tensor = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
        inputs[name] = (tensor.float() if array.dtype.kind == "f" else tensor.long())[None]
    if "input_ids" in inputs and "attention_mask" not in inputs:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs


def _text(row: Mapping[str, Any], name: str, number: int) -> str:
    text = row[name]
    if not isinstance(text, str):
        raise ValueError(f"sample {number}: {name!r} is no text")
    return text


def _called(model: Any, inputs: Mapping[str, Any], number: int) -> Any:
    import torch

    try:
        with torch.no_grad():
            return model(**inputs)
    except (TypeError, RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"sample {number}: the model does not take it ({', '.join(inputs)}): {reason}") from error


def _given(made: Any, mask: Any) -> Outputs:
    """Return what is compared of a model's outputs, without the first axis; raises ValueError where nothing of them is known."""
    if "logits" in made:
        return {"logits": made["logits"][0].numpy()}
    if "last_hidden_state" not in made:
        raise ValueError(f"the model gives neither logits nor last_hidden_state but {', '.join(made)}; measure it by a `command`")
    hidden = made["last_hidden_state"][0]
    if mask is not None and mask.shape[1] == len(hidden):
        hidden = hidden[mask[0].bool()]
    return {"embedding": hidden.reshape(len(hidden), -1).mean(dim=0).numpy()}


def _is_folder(model: Path) -> bool:
    return model.is_dir() and (model / "config.json").is_file() and next(_weights(model), None) is not None


def _weights(model: Path) -> Iterator[Path]:
    yield from model.glob("model*.safetensors")
    yield from model.glob("pytorch_model*.bin")


def _installed(*modules: str) -> bool:
    return all(find_spec(name) is not None for name in modules)


def _versions(*distributions: str) -> dict[str, str]:
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
