from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from hatch_mlbundle.binaries.fatbin import CUBIN, IS_FAMILY, IS_LTO, IS_SPECIFIC, LTO, PTX, VERSION, Container, Entry
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target, kept_entries, needs_ptx

KINDS = {"sm": CUBIN, "compute": PTX, "lto": LTO}
FLAGS = {"": 0, "a": IS_SPECIFIC, "f": IS_FAMILY}


def container(*names: str) -> Container:
    """Return a container with entries of these names, as nvcc has them; `kind_64` is of a kind that nobody knows."""
    entries = []
    for name in names:
        match = re.fullmatch(r"([a-z]+)_(\d+)([af]?)", name)
        assert match
        flags = FLAGS[match[3]] | (IS_LTO if match[1] == "lto" else 0)
        kind = KINDS.get(match[1], 64)
        entry = Entry(offset=0, header=64, payload=8, kind=kind, version=VERSION, architecture=int(match[2]), flags=flags)
        entries.append(entry)
    return Container(offset=0, header=16, body=72 * len(entries), entries=tuple(entries))


def kept(names: str, targets: str, ptx: Ptx = "when-needed") -> str:
    every = names.split()
    numbers = kept_entries(container(*every), [Target.parse(each) for each in targets.split()], ptx)
    return " ".join(every[number] for number in sorted(numbers))


@pytest.mark.parametrize(
    ("names", "targets", "expected"),
    [
        ("sm_70 sm_80 sm_86 sm_90", "8.0", "sm_80"),
        ("sm_70 sm_80 sm_86 sm_90", "8.6", "sm_86"),
        ("sm_70 sm_80 sm_86 sm_90", "8.9", "sm_86"),
        ("sm_86 sm_80", "8.9", "sm_86"),
        ("sm_70 sm_80 sm_86 sm_90", "7.5", "sm_70"),
        ("sm_70 sm_80 sm_86 sm_90", "8.0 9.0", "sm_80 sm_90"),
        ("sm_70 sm_80 sm_86 sm_90", "8.6 8.0", "sm_80 sm_86"),
        ("sm_70 sm_80 sm_86 sm_90", "10.0", ""),
        ("sm_100 sm_120", "12.1", "sm_120"),
    ],
)
def test_of_cubins_the_exact_one_is_kept_or_the_newest_below(names: str, targets: str, expected: str) -> None:
    assert kept(names, targets) == expected


@pytest.mark.parametrize(
    ("names", "targets", "expected"),
    [
        ("sm_80 sm_90a", "8.0", "sm_80"),
        ("sm_90a", "9.0", "sm_90a"),
        ("sm_90 sm_90a", "9.0", "sm_90 sm_90a"),
        ("sm_100a", "10.3", ""),
        ("sm_100 sm_103a", "10.3", "sm_100 sm_103a"),
        ("sm_100f", "10.3", "sm_100f"),
        ("sm_100 sm_100f sm_103", "10.3", "sm_103"),
        ("sm_100 sm_100f", "10.0", "sm_100 sm_100f"),
        ("sm_120f sm_100f", "12.1", "sm_120f"),
        ("sm_103f", "10.0", ""),
        ("compute_90a", "10.0", ""),
        ("compute_100f", "10.3", "compute_100f"),
        ("compute_100f", "12.0", ""),
    ],
)
def test_what_is_specific_is_for_its_own_and_what_is_of_a_family_for_later_minors(names: str, targets: str, expected: str) -> None:
    assert kept(names, targets) == expected


@pytest.mark.parametrize(
    ("names", "targets", "expected"),
    [
        ("sm_86 sm_87", "8.9", "sm_86 sm_87"),
        ("sm_100 sm_101 sm_120", "10.3", "sm_100 sm_101"),
        ("sm_80 sm_86 compute_80", "8.7", "sm_86 compute_80"),
        ("sm_86 sm_87 compute_80", "8.7", "sm_87"),
        ("sm_87 compute_80", "8.9", "sm_87 compute_80"),
        ("sm_101 sm_120", "11.0", "sm_101"),
        ("sm_110 sm_120", "10.1", "sm_110"),
    ],
)
def test_between_tegra_and_other_gpus_cubins_are_no_sure_thing(names: str, targets: str, expected: str) -> None:
    assert kept(names, targets) == expected


@pytest.mark.parametrize(
    ("ptx", "names", "targets", "expected"),
    [
        ("when-needed", "sm_80 compute_80", "8.0", "sm_80"),
        ("when-needed", "compute_70 sm_90", "8.0", "compute_70"),
        ("when-needed", "sm_80 compute_86", "8.9", "sm_80 compute_86"),
        ("when-needed", "sm_90a compute_80", "9.0", "sm_90a compute_80"),
        ("when-needed", "sm_90a sm_90 compute_80", "9.0", "sm_90a sm_90"),
        ("when-needed", "sm_86 compute_86 compute_90", "8.9", "sm_86"),
        ("when-needed", "sm_80 compute_80", "8.0 9.0", "sm_80 compute_80"),
        ("when-needed", "compute_90", "8.0", ""),
        ("newest", "sm_80 compute_50 compute_90 compute_120", "8.0", "sm_80 compute_120"),
        ("newest", "sm_80 compute_90 compute_100f compute_120a", "8.0", "sm_80 compute_90"),
        ("newest", "compute_70 compute_90", "8.0", "compute_70 compute_90"),
        ("newest", "sm_90", "8.0", ""),
        ("all", "sm_80 sm_90 compute_50 compute_90a", "8.0", "sm_80 compute_50 compute_90a"),
        ("none", "sm_80 compute_80 compute_86", "8.9", "sm_80"),
        ("none", "compute_70 sm_90", "8.0", ""),
    ],
)
def test_ptx_is_kept_as_asked(ptx: Ptx, names: str, targets: str, expected: str) -> None:
    assert kept(names, targets, ptx) == expected


@pytest.mark.parametrize("ptx", ["when-needed", "newest", "all", "none"])
def test_what_is_linked_later_stays_beside_the_code(ptx: Ptx) -> None:
    assert kept("sm_80 lto_75 lto_80 lto_90 lto_90a", "8.0", ptx) == "sm_80 lto_75 lto_80"
    assert kept("sm_80 lto_80 lto_90a", "9.0", ptx) == "lto_80 lto_90a"


def test_what_is_not_understood_stays_and_stands_in_for_nothing() -> None:
    assert kept("kind_0 sm_90 compute_80", "8.0", "none") == "kind_0"
    assert kept("kind_80 sm_90 compute_80", "8.0") == "kind_80 compute_80"


def test_an_entry_with_a_flag_of_tomorrow_stays_and_so_does_what_serves_without_it() -> None:
    known = container("sm_80", "sm_86", "sm_90").entries
    entry = Entry(offset=0, header=64, payload=8, kind=CUBIN, version=VERSION, architecture=89, flags=0x400000)
    whole = Container(offset=0, header=16, body=4 * 72, entries=(*known, entry))
    assert kept_entries(whole, [Target.parse("8.9")], "when-needed") == {1, 3}


@pytest.mark.parametrize(
    ("names", "target", "numbers"), [("sm_80 compute_70", "8.0", []), ("sm_80a compute_70", "8.0", []), ("sm_90 compute_70", "8.0", [1])]
)
def test_which_ptx_a_target_depends_on(names: str, target: str, numbers: Sequence[int]) -> None:
    assert sorted(needs_ptx(container(*names.split()), Target.parse(target))) == numbers


@pytest.mark.parametrize("text", ["3.5", "8.0", "10.3", "12.1"])
def test_targets_are_written_as_they_are_read(text: str) -> None:
    assert str(Target.parse(text)) == text


def test_targets_have_an_order() -> None:
    assert [str(each) for each in sorted(map(Target.parse, ["12.0", "9.0", "8.6", "8.0", "10.0"]))] == ["8.0", "8.6", "9.0", "10.0", "12.0"]


@pytest.mark.parametrize("text", ["", "8", "80", "sm_80", "8.0a", "8.10", "08.0", "8.0 ", "-8.0", "2.1", "8,0", "٨.0", "1e3", "9" * 5000])
def test_what_is_no_capability_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no compute capability of a GPU; write it like '8\.0'") as error:
        Target.parse(text)
    assert len(str(error.value)) < 130
