"""The shapes of inputs as the configuration writes them."""

from __future__ import annotations

import pytest

from mlbundle_torch.shapes import FreeAxis, axis_faults, parse_shape, to_request


def test_sizes_and_free_axes_are_told_apart() -> None:
    assert parse_shape("batch, 3, height = 64 | 96, width=32") == (
        FreeAxis("batch", (2, 1, 5)),
        3,
        FreeAxis("height", (64, 96)),
        FreeAxis("width", (32,)),
    )
    assert parse_shape("  ") == ()


@pytest.mark.parametrize("text", ["0", "-1", "batch=0", "a b", "1.5", "batch=", ",", "batch=2||3", "x=2, ,3", "é!"])
def test_what_is_no_axis_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="axis"):
        parse_shape(text)


def test_one_name_has_one_list_of_sizes() -> None:
    assert axis_faults([parse_shape("n=4|8, 2"), parse_shape("n, 3")]) == []
    assert len(axis_faults([parse_shape("n=4|8"), parse_shape("n=4|9")])) == 1


def test_the_worker_reads_what_is_written() -> None:
    assert to_request(parse_shape("n=4, 3")) == [{"name": "n", "sizes": [4]}, 3]
