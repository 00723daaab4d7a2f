"""Times and memory as text."""

from __future__ import annotations

import pytest

from hatch_mlbundle.reports.measurements import format_seconds, measurements_report
from hatch_mlbundle.reports.terminal import WIDTH, as_text
from hatch_mlbundle.trials.measure import Measurement


def measurement(seconds: float, memory: int) -> Measurement:
    return Measurement(runs=5, seconds_median=seconds, seconds_min=seconds / 2, seconds_max=seconds * 2, peak_memory_median=memory)


def test_one_program() -> None:
    assert as_text(measurements_report([("dist/app[1]", measurement(0.3, 10**8))])).splitlines() == [
        " median  fastest  slowest  peak memory  start to exit, 5 runs",
        "0.300 s  0.150 s  0.600 s       100 MB  dist/app[1]",
    ]


def test_two_programs_are_compared_within_the_width() -> None:
    text = as_text(measurements_report([("long/" * 30, measurement(4.0, 10**9)), ("small", measurement(1.0, 0))]))
    assert text.splitlines()[-1].split() == ["x", "0.25", "x", "0.25", "x", "0.25", "x", "0.00", "the", "second", "to", "the", "first"]
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.replace("\n", "").replace(" ", "").count("long/") == 30


@pytest.mark.parametrize(("seconds", "text"), [(0.0123, "0.012 s"), (9.5, "9.500 s"), (12.34, "12.3 s"), (250.4, "250 s")])
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
