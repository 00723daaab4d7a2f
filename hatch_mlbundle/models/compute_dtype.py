"""In which dtype transformers computes: the one that `config.json` names, else that of the first float in the weights.

transformers 5 loads with `dtype="auto"` where nothing else is asked for (`from_pretrained`, `_get_dtype` in modeling_utils.py), and
reads `dtype` or, as version 4 wrote it, `torch_dtype`. Weights of 16 bits would be computed with in 16 bits, which most CPUs do slowly.
"""

from __future__ import annotations

from hatch_mlbundle.models.json_text import read_object, with_first, with_value

_KEYS = ("dtype", "torch_dtype")
_MARKS = ("model_type", "architectures")


def with_float32(text: str, name: str) -> str:
    """Return the text of a transformers model's `config.json` so that float32 is computed with; as it is where it says what to do.

    Raises ModelError, with the name, where it is no JSON object.
    """
    config = read_object(text, name)
    if not any(mark in config for mark in _MARKS) or any(config.get(key) is not None for key in _KEYS):
        return text
    there = next((key for key in _KEYS if key in config), None)
    return with_value(text, (there,), "float32") if there else with_first(text, "dtype", "float32")
