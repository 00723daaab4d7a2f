"""Files beside the weights: what is not to be changed keeps its order and layout, byte for byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.compute_dtype import with_float32
from hatch_mlbundle.models.json_text import read_object, with_first, with_value
from hatch_mlbundle.models.sharded import check_shard, read_index, with_total_size
from hatch_mlbundle.models.weight_sets import WeightSet, sets_of, text_of, weight_sets

CONFIG = '{\n  "architectures": [\n    "BertModel"\n  ],\n  "eps": 1e-5\n}\n'

CONFIGS = {
    "says nothing": (CONFIG, '{\n  "dtype": "float32",\n  "architectures": [\n    "BertModel"\n  ],\n  "eps": 1e-5\n}\n'),
    "in one line": ('{"model_type": "bert", "n": 1}', '{"dtype": "float32", "model_type": "bert", "n": 1}'),
    "tabs": ('{\n\t"model_type": "x"\n}', '{\n\t"dtype": "float32",\n\t"model_type": "x"\n}'),
    "null": ('{\n "model_type": "x",\n "torch_dtype": null\n}', '{\n "model_type": "x",\n "torch_dtype": "float32"\n}'),
    "null, and a like key within": (
        '{\n "model_type": "x",\n "text": {"dtype": null},\n "dtype": null\n}',
        '{\n "model_type": "x",\n "text": {\n  "dtype": null\n },\n "dtype": "float32"\n}',
    ),
    "says it": ('{"model_type": "x", "torch_dtype": "float32"}', None),
    "says otherwise": ('{"model_type": "x", "dtype": "bfloat16"}', None),
    "one of two says it": ('{"model_type": "x", "dtype": null, "torch_dtype": "float16"}', None),
    "is none of transformers": ('{"in_features": 384}', None),
    "is empty": ("{}", None),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_the_dtype_to_compute_in_is_written_where_nothing_is_said(what: str) -> None:
    text, wanted = CONFIGS[what]
    assert with_float32(text, "config.json") == (wanted or text)


@pytest.mark.parametrize("text", ["", "{", "[]", "NaN,", '"model_type"', "[" * 100_000])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"^m/config.json: "):
        with_float32(text, "m/config.json")


OBJECTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2), max_size=4
)


@given(OBJECTS, st.sampled_from([None, 1, 2, "\t"]))
def test_a_first_key_changes_nothing_else(value: dict[str, object], indent: int | str | None) -> None:
    text = json.dumps({name: each for name, each in value.items() if name != "dtype"}, indent=indent)
    made = with_first(text, "dtype", "float32")
    assert json.loads(made) == {"dtype": "float32", **json.loads(text)}
    assert next(iter(json.loads(made))) == "dtype"


@given(OBJECTS, st.sampled_from([None, 1, 2, "\t"]), st.integers(0, 2**63))
def test_a_value_changes_nothing_else(value: dict[str, object], indent: int | str | None, size: int) -> None:
    parsed = {**value, "metadata": {"total_size": 5, "x": value}}
    made = with_value(json.dumps(parsed, indent=indent), ("metadata", "total_size"), size)
    assert json.loads(made) == {**parsed, "metadata": {"total_size": size, "x": value}}
    assert made == json.dumps(json.loads(made), indent=indent, ensure_ascii="\\u" in made)


INDEX = """{
  "metadata": {
    "total_parameters": 7,
    "total_size": 28
  },
  "weight_map": {
    "b": "model-00002-of-00002.safetensors",
    "a": "model-00001-of-00002.safetensors"
  }
}
"""


def test_an_index_is_read_and_its_total_replaced() -> None:
    index = read_index(INDEX, "model.safetensors.index.json")
    assert index.shards == {"model-00001-of-00002.safetensors": ("a",), "model-00002-of-00002.safetensors": ("b",)}
    assert with_total_size(INDEX, index, 14) == INDEX.replace("28", "14")
    without = '{"weight_map": {"a": "m.safetensors"}}'
    assert with_total_size(without, read_index(without, "i"), 14) == without


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": []}', "has no weight_map"),
        ('{"weight_map": {"a": 1}}', "has no weight_map"),
        ('{"weight_map": {"a": "../m.safetensors"}}', "which is no safetensors file of its folder"),
        ('{"weight_map": {"a": "/etc/m.safetensors"}}', "which is no safetensors file of its folder"),
        ('{"weight_map": {"a": "..\\\\m.safetensors"}}', "which is no safetensors file of its folder"),
        ('{"weight_map": {"a": "config.json"}}', "which is no safetensors file of its folder"),
        ("[1]", "holds no JSON object"),
        ("{", "is no JSON"),
    ],
)
def test_an_index_that_cannot_be_believed_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"^i.json: {message}|i.json: .*{message}"):
        read_index(text, "i.json")


def test_a_shard_holds_what_its_index_says() -> None:
    check_shard("m", ["a"], ["a", "b"])
    with pytest.raises(ModelError, match="does not hold tensor 'c'"):
        check_shard("m", ["a", "c"], ["a", "b"])


def test_files_belong_together_by_their_index() -> None:
    paths = ["m/model-1.safetensors", "m/model-2.safetensors", "m/model.safetensors.index.json", "m/config.json", "m/adapter.safetensors"]
    paths += ["model.safetensors", "config.json", "n/vae.safetensors", "n/config.json"]
    sets = weight_sets(paths, {"m/model.safetensors.index.json": ["model-2.safetensors", "model-1.safetensors"]})
    assert sets == [
        WeightSet(shards=("m/adapter.safetensors",)),
        WeightSet(
            shards=("m/model-1.safetensors", "m/model-2.safetensors"), index="m/model.safetensors.index.json", config="m/config.json"
        ),
        WeightSet(shards=("model.safetensors",), config="config.json"),
        WeightSet(shards=("n/vae.safetensors",)),
    ]
    assert sets_of(text_of(sets)) == sets


def test_an_object_is_read_with_its_name_in_what_is_told() -> None:
    assert read_object('{"a": 1}', "x") == {"a": 1}
