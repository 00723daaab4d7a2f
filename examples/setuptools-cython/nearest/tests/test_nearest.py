import pytest

from nearest import nearest


def test_direction_counts_and_length_does_not():
    assert nearest([[9, 9], [1, 0], [0, 3]], [2, 0.1]) == 1


def test_the_first_of_equals():
    assert nearest([[0, 1], [0, 2]], [0, 1]) == 0


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="as many numbers"):
        nearest([[1, 2, 3]], [1, 2])
