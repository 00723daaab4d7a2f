from __future__ import annotations

import time

import pytest

from hatch_mlbundle.binaries.gpu_coverage import Span, capability, is_in, lost, united

TORCH = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_90a", "compute_90 (PTX)"]
"""As in torch's libraries, of one container."""


def told(spans: tuple[Span, ...]) -> list[tuple[str, str | None]]:
    return [(span.first, span.below) for span in spans]


@pytest.mark.parametrize(
    ("before", "after", "spans"),
    [
        (TORCH, TORCH, []),
        (TORCH, ["sm_80"], [("7.0", "8.0"), ("9.0", None)]),
        (TORCH, ["sm_86"], [("7.0", "8.6"), ("9.0", None)]),  # an 8.0 had code, and what is left is for 8.6 and later
        (TORCH, ["sm_90"], [("7.0", "9.0"), ("10.0", None)]),
        (TORCH, ["sm_90a"], [("7.0", "9.0"), ("9.1", None)]),
        (TORCH, ["compute_90 (PTX)"], [("7.0", "9.0")]),
        (TORCH, [], [("7.0", None)]),
        (["sm_80", "sm_86"], ["sm_80"], []),  # an 8.6 runs the other
        (["sm_100f"], [], [("10.0", "11.0")]),
        (["compute_100f (PTX)", "compute_100a (PTX)"], [], [("10.0", "11.0")]),
        (["sm_90", "lto_90 (LTO-IR)"], ["sm_90"], [("9.0", None)]),  # what links it found nothing
        (["lto_50 (LTO-IR)", "lto_90 (LTO-IR)"], ["lto_50 (LTO-IR)"], []),
        (["compute_52 (PTX)", "compute_90 (PTX)"], ["compute_52 (PTX)"], []),  # it is compiled when it is loaded
        (["sm_80", "compute_70 (PTX)"], ["sm_80"], [("7.0", "8.0"), ("8.7", "8.9"), ("9.0", None)]),  # an Orin compiled the PTX
        (["sm_80", "sm_87"], ["sm_80"], [("8.7", "8.8")]),
        (["sm_80", "sm_87"], ["sm_87"], [("8.0", "8.7"), ("8.9", "9.0")]),
        (["sm_89a", "sm_999"], [], [("8.9", "9.0"), ("99.9", "100.0")]),  # no 8.10 ever was
        (["code of an unknown kind", "sm_9000", "sm_80x"], [], []),
        ([], [], []),
    ],
)
def test_what_lost_code_is_told_exactly(before: list[str], after: list[str], spans: list[tuple[str, str | None]]) -> None:
    assert told(lost(before, after)) == spans


def test_a_container_with_all_that_there_could_be_takes_no_time() -> None:
    names = [f"{kind}_{number}{variant}" for kind in ("sm", "compute", "lto") for number in range(10, 1000) for variant in ("", "a", "f")]
    start = time.process_time()
    assert told(lost(names, names[1:])) == []
    assert time.process_time() - start < 5


def test_spans_become_few() -> None:
    spans = [Span(first="9.0"), Span(first="5.0", below="7.0"), Span(first="6.1", below="8.0"), Span(first="10.0", below="11.0")]
    assert told(united(spans)) == [("5.0", "8.0"), ("9.0", None)]
    assert told(united([])) == []


def test_a_gpu_is_in_a_span_up_to_its_end() -> None:
    spans = [Span(first="5.0", below="8.0"), Span(first="9.0")]
    inside = {gpu for gpu in ((4, 9), (5, 0), (7, 5), (8, 0), (8, 9), (9, 0), (10, 0), (12, 1)) if is_in(gpu, spans)}
    assert inside == {(5, 0), (7, 5), (9, 0), (10, 0), (12, 1)}


@pytest.mark.parametrize("text", ["", "8", "8.0a", "sm_80", "8.", "-8.0", "8.0\n", "\u0668.\u0660", "99999.0"])
def test_what_is_no_compute_capability_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no compute capability"):
        capability(text)
