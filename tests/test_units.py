from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatch_mlbundle.units import format_growth, format_growth_percent, format_percent, format_size, parse_size, write_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("12 B", 12),
        ("1 kB", 1000),
        ("250 MB", 250_000_000),
        ("250mb", 250_000_000),
        (" 1.5 GB ", 1_500_000_000),
        ("2 GiB", 2 << 30),
        ("0.5 KiB", 512),
        ("3 TiB", 3 << 40),
        ("9007199254740993", 9007199254740993),
        ("0.1 GB", 100_000_000),
    ],
)
def test_a_size_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "12 XB", "-1 MB", "1,5 MB", "1e3", "1 MB MB", "0x10", "1.", ".5 MB", "inf"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write it like '250 MB' or '2 GiB'"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9" * 400 + " TB", "8388608 TiB", str(2**63)])
def test_more_than_any_file_has_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is more than any file has"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (980, "980 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_995, "10.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (12_345_678, "12.3 MB"),
        (-1_200_000_000, "-1.20 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_a_size_as_people_read_it(size: int, text: str) -> None:
    assert format_size(size) == text


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_what_is_shown_is_right_to_three_digits_and_can_be_read_back(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= max(size / 199, 0)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1001, "1001 B"),
        (10**11, "100 GB"),
        (5 * 10**9, "5 GB"),
        (1_500_000, "1500 kB"),
        (2 << 30, "2 GiB"),
        (1024, "1 KiB"),
    ],
)
def test_a_size_as_people_write_it_down(size: int, text: str) -> None:
    assert write_size(size) == text


@settings(deadline=None)
@given(st.integers(0, 10**4), st.sampled_from([1, 1000, 1024, 10**6, 2**20, 10**9, 2**30, 10**12, 2**40]))
def test_what_is_written_down_is_read_back(number: int, unit: int) -> None:
    assert parse_size(write_size(number * unit)) == number * unit


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 4, "25.0 %"), (0, 0, "0.0 %"), (5, 0, "0.0 %"), (2, 3, "66.7 %"), (-1, 8, "-12.5 %"), (-1, 10**6, "0.0 %"), (-1, 1000, "-0.1 %")],
)
def test_percent(part: int, whole: int, text: str) -> None:
    assert format_percent(part, whole) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (12_300_000, "+12.3 MB"), (-980, "-980 B")])
def test_growth(size: int, text: str) -> None:
    assert format_growth(size) == text


@pytest.mark.parametrize(
    ("size", "before", "text"),
    [
        (0, 0, "0.0 %"),
        (0, 5, "0.0 %"),
        (5, 0, "new"),
        (1, 8, "+12.5 %"),
        (-5, 5, "-100.0 %"),
        (899, 100, "+899.0 %"),
        (900, 100, "x10"),
        (12_345_600, 100, "x123457"),
    ],
)
def test_growth_in_percent(size: int, before: int, text: str) -> None:
    assert format_growth_percent(size, before) == text
