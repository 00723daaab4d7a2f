"""The shapes of inputs as the configuration writes them."""

from __future__ import annotations

import pytest

from mlbundle_torch.shapes import FreeAxis, axis_faults, parse_shape, to_requests


def test_sizes_and_free_axes_are_told_apart() -> None:
    assert parse_shape("batch, 3, height = 64 | 96, width=32") == (
        FreeAxis("batch"),
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


def test_an_axis_has_its_own_sizes_or_those_given_elsewhere() -> None:
    first, second = to_requests([parse_shape("n, m, 3"), parse_shape("k, n=4|8")])
    assert first == [{"name": "n", "sizes": [4, 8]}, {"name": "m", "sizes": [3, 1, 7]}, 3]
    assert second == [{"name": "k", "sizes": [4, 1, 9]}, {"name": "n", "sizes": [4, 8]}]
