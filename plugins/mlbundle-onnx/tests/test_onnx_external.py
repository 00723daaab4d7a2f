"""External data is believed only where it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlbundle_onnx.embedding import embed
from mlbundle_onnx.external import is_astray
from mlbundle_onnx.modelfile import locations, read_graph, read_model
from onnx import numpy_helper
from onnxsmith import embedder, save, values

from hatch_mlbundle.errors import ModelError


def changed(folder: Path, **entries: str | None) -> Path:
    """Write a model whose weight `dense` says something else of where its data is; None leaves an entry out."""
    path = save(embedder(), folder / "m.onnx", "m.bin")
    made = onnx.load(path, load_external_data=False)
    tensor = weight(made)
    for key, value in entries.items():
        kept = [each for each in tensor.external_data if each.key != key]
        pairs = [(each.key, each.value) for each in kept] + ([(key, value)] if value is not None else [])
        del tensor.external_data[:]
        for name, text in pairs:
            tensor.external_data.add(key=name, value=text)
    return save(made, path)


def weight(made: onnx.ModelProto) -> Any:
    return next(each for each in made.graph.initializer if each.name == "dense")


def read(path: Path) -> object:
    return read_model(path, {"m.bin": path.with_name("m.bin")})


@pytest.mark.parametrize(
    "location",
    ["", "../m.bin", "/etc/passwd", "a/../../m.bin", "a\\..\\m.bin", "C:m.bin", "./m.bin", "a//m.bin", "m.bin/", "m\0.bin", ".", ".."],
)
def test_a_location_that_leads_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    assert is_astray(location)
    path = changed(tmp_path, location=location)
    with pytest.raises(ModelError, match="no path in the model's own folder"):
        locations(read_graph(path))
    with pytest.raises(ModelError, match="no path in the model's own folder"):
        read(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "other.bin"}, "is missing"),
        ({"offset": "99999999"}, "ends beyond its file"),
        ({"offset": "-1"}, "offset or length '-1'"),
        ({"offset": "1e3"}, "offset or length '1e3'"),
        ({"offset": "\u0664"}, "offset or length"),
        ({"offset": "9" * 50}, "offset or length"),
        ({"length": "4"}, "needs 32768 bytes, but has 4"),
        ({"length": ""}, "offset or length ''"),
        ({"offset": "64"}, "overlaps"),
        ({"password": "x"}, "unknown ones"),
    ],
)
def test_a_place_that_does_not_fit_is_refused(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(changed(tmp_path, **entries))


def test_an_entry_given_twice_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path)
    made = onnx.load(path, load_external_data=False)
    weight(made).external_data.add(key="offset", value="0")
    with pytest.raises(ModelError, match="in two ways"):
        read(save(made, path))


def test_the_length_may_be_left_out(tmp_path: Path) -> None:
    read(changed(tmp_path, length=None))


@pytest.mark.parametrize("dims", [[-1, 4096], [1 << 40, 1 << 40], [1 << 62, 1 << 62, 0, 5]])
def test_dimensions_that_cannot_be_are_refused(tmp_path: Path, dims: list[int]) -> None:
    path = changed(tmp_path)
    made = onnx.load(path, load_external_data=False)
    weight(made).dims[:] = dims
    with pytest.raises(ModelError, match="tensor 'dense'"):
        read(save(made, path))


@pytest.mark.parametrize("type_", [0, 8, 99])
def test_a_data_type_without_a_size_is_refused(tmp_path: Path, type_: int) -> None:
    path = changed(tmp_path)
    made = onnx.load(path, load_external_data=False)
    weight(made).data_type = type_
    with pytest.raises(ModelError, match="whose size is not known"):
        read(save(made, path))


def test_a_weight_without_data_is_refused(tmp_path: Path) -> None:
    made = embedder()
    weight(made).ClearField("raw_data")
    with pytest.raises(ModelError, match="has no data"):
        read(save(made, tmp_path / "m.onnx"))


def test_a_weight_whose_data_is_short_is_refused(tmp_path: Path) -> None:
    made = embedder()
    weight(made).raw_data = weight(made).raw_data[:-4]
    with pytest.raises(ModelError, match="needs 32768 bytes, but has 32764"):
        read(save(made, tmp_path / "m.onnx"))


@pytest.mark.parametrize("name", ["original", "new", "m.bin"])
def test_embedding_tells_the_data_of_every_file_apart(tmp_path: Path, name: str) -> None:
    made = onnx.load(save(embedder(), tmp_path / "m.onnx", name), load_external_data=False)
    made.graph.initializer.append(numpy_helper.from_array(values(64, 64, seed=11), "inside"))
    embed(save(made, tmp_path / "m.onnx"), {name: tmp_path / name}, tmp_path / "whole.onnx")
    before, after = (onnx.load(tmp_path / each).graph.initializer for each in ("m.onnx", "whole.onnx"))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new))


def test_names_and_places_that_are_no_text_are_refused(tmp_path: Path) -> None:
    data = save(embedder(), tmp_path / "m.onnx", "m.bin").read_bytes()
    for name in (b"m.bin", b"location", b"words", b"input_ids", b"Gather", b"transB"):
        (tmp_path / "m.onnx").write_bytes(data.replace(name, b"\xff" * len(name)))
        with pytest.raises(ModelError, match="no UTF-8"):
            read_graph(tmp_path / "m.onnx")
