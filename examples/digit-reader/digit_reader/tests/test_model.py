"""Run by pytest in the source tree; hatch-mlbundle leaves it out of the wheel."""

from __future__ import annotations

import csv
from array import array
from importlib.resources import files

import pytest

from digit_reader import load_model
from digit_reader._layers import argmax, dense
from digit_reader.model import read_safetensors


def test_more_than_95_percent_of_the_held_out_digits_are_right() -> None:
    model = load_model()
    rows = csv.reader(files("digit_reader.tests").joinpath("data", "digits.csv").read_text().splitlines())
    right = [model.predict(map(int, pixels)) == int(label) for *pixels, label in rows]
    assert len(right) == 898
    assert sum(right) / len(right) > 0.95


def test_a_dense_layer() -> None:
    values, weight, bias = array("f", [1, 2]), array("f", [1, 0, 0, -1, 2, 2]), array("f", [0.5, 1, 0])
    assert array("f", dense(values, weight, bias, relu=False)).tolist() == [1.5, -1, 6]
    assert array("f", dense(values, weight, bias, relu=True)).tolist() == [1.5, 0, 6]
    with pytest.raises(ValueError, match="6 weights do not take 3 values to 3"):
        dense(array("f", [1, 2, 3]), weight, bias, relu=False)


def test_argmax() -> None:
    assert argmax(array("f", [-3, -1, -1])) == 1
    with pytest.raises(ValueError, match="there are none"):
        argmax(b"")


@pytest.mark.parametrize(
    "content", [b"", b"\x09" + bytes(7) + b"{}", (b"\x3d" + bytes(7) + b'{"0.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   12')]
)
def test_a_file_that_is_cut_off_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"longer than the file|within the file"):
        read_safetensors(content)
