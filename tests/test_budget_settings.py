from __future__ import annotations

from typing import Any

import pytest

from hatch_mlbundle.budget_limits import limits_of
from hatch_mlbundle.config import decisive_settings, read_config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.plugins import load_registry
from tests.budgetsmith import HOSTILE, budget

PATH = "tool.mlbundle.budget"
TORCH = {"owner": "torch", "installed": "500 MB"}
REASON = "torch 2.14 brings new kernels (#412)"


def faults_of(table: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        budget(table)
    return list(caught.value.faults)


def test_no_limit_is_set_by_default() -> None:
    assert limits_of(budget({})) == ()


def test_limits_are_called_by_what_they_limit_in_the_order_of_the_table() -> None:
    table = {
        "preset": ["pypi", "one-file"],
        "installed": "600 MB",
        "files": 12_000,
        "download": "1 GB",
        "compressed-growth-percent": 1.5,
        "startup": 1.5,
        "peak-memory": "800 MB",
        "rules": [{**TORCH, "count": 3}, {"kind": "elf", "installed-growth": 0}, {"files": "*.so", "name": "natives", "compressed": 1}],
    }
    limits = limits_of(budget(table))
    assert [(limit.name, limit.key, limit.unit, limit.allowed) for limit in limits] == [
        ("pypi", "preset[0]", "bytes", 100 * 2**20),
        ("one-file", "preset[1]", "bytes", 2**32 - 1),
        ("installed", "installed", "bytes", 600_000_000),
        ("files", "files", "files", 12_000),
        ("compressed-growth-percent", "compressed-growth-percent", "percent", 1.5),
        ("download", "download", "bytes", 10**9),
        ("startup", "startup", "seconds", 1.5),
        ("peak-memory", "peak-memory", "bytes", 800_000_000),
        ("torch: installed", "rules[0].installed", "bytes", 500_000_000),
        ("torch: count", "rules[0].count", "files", 3),
        ("kind elf: installed-growth", "rules[1].installed-growth", "bytes", 0),
        ("natives: compressed", "rules[2].compressed", "bytes", 1),
    ]


def test_a_limit_of_nothing_is_one() -> None:
    assert [limit.name for limit in limits_of(budget({"installed": 0, "files": 0, "startup": 0, "installed-growth-percent": 0}))] == [
        "installed",
        "files",
        "installed-growth-percent",
        "startup",
    ]


def test_an_override_belongs_to_its_limit_and_its_reason_is_one_line() -> None:
    table = {"rules": [TORCH], "overrides": [{"limit": "torch: installed", "reason": " so\n it is ", "up-to": "650 MB"}]}
    (limit,) = limits_of(budget(table))
    assert (limit.reason, limit.up_to) == ("so it is", 650_000_000)


@pytest.mark.parametrize(
    ("table", "limit", "up_to", "bound"),
    [
        ({"files": 10}, "files", 12, 12),
        ({"files": 10}, "files", "12", 12),
        ({"installed": 10}, "installed", 12, 12),
        ({"installed-growth-percent": 2.0}, "installed-growth-percent", 2.5, 2.5),
        ({"startup": 1}, "startup", "1.5", 1.5),
    ],
)
def test_the_bound_of_an_override_has_the_unit_of_its_limit(table: dict[str, Any], limit: str, up_to: object, bound: float) -> None:
    (found,) = limits_of(budget({**table, "overrides": [{"limit": limit, "reason": REASON, "up-to": up_to}]}))
    assert found.up_to == bound


@pytest.mark.parametrize(
    ("table", "limit", "up_to"),
    [
        ({"files": 10}, "files", "12 MB"),
        ({"files": 10}, "files", 12.5),
        ({"installed": 10}, "installed", -12),
        ({"installed": 10}, "installed", "many"),
        ({"installed-growth-percent": 2.0}, "installed-growth-percent", "nan"),
        ({"startup": 1}, "startup", float("inf")),
        ({"startup": 1}, "startup", "-2"),
        ({"startup": 1}, "startup", 1.0),
    ],
)
def test_a_bound_that_is_none(table: dict[str, Any], limit: str, up_to: object) -> None:
    (fault,) = faults_of({**table, "overrides": [{"limit": limit, "reason": REASON, "up-to": up_to}]})
    assert fault.startswith(f"{PATH}.overrides[0].up-to: must be ")


def test_all_faults_at_once_each_with_its_path() -> None:
    table = {
        "preset": ["pypi", "pipy", "pypi"],
        "instaled": "1 GB",
        "compressed": "many",
        "files": -1,
        "startup": float("nan"),
        "installed-growth-percent": float("inf"),
        "baseline": "sizes/app.whl",
        "rules": [
            {"owner": "torch", "kind": "elf", "installed": 1},
            {"installed": 1},
            {"kind": "elfs", "installed": 1},
            {"owner": "numpy"},
            {"owner": "torch", "count": -1, "compressed-growth-percent": -1.0},
            {"files": "!", "installed": 1},
        ],
        "overrides": [
            {"limit": "fils", "reason": REASON},
            {"limit": "files", "reason": " "},
            {"limit": "files", "reason": "todo"},
            {"reason": REASON},
        ],
    }
    assert sorted(faults_of(table)) == sorted(
        [
            f"{PATH}.preset[1]: must be one of 'pypi', 'lambda', 'lambda-zip', 'github-release', 'one-file', not 'pipy'",
            f"{PATH}.instaled: unknown key; did you mean 'installed'?",
            f"{PATH}.compressed: 'many' is not a size; write it like '250 MB' or '2 GiB'",
            f"{PATH}.preset[2]: 'pypi' is listed twice",
            f"{PATH}.files: must be 0 or more, not -1",
            f"{PATH}.startup: must be 0 or more, not nan",
            f"{PATH}.installed-growth-percent: must be at most 1,000,000,000,000, not inf",
            f"{PATH}.baseline: must be a manifest (.json), not 'sizes/app.whl'",
            f"{PATH}.rules[0]: needs exactly one of owner, kind and files, not owner and kind",
            f"{PATH}.rules[1]: needs exactly one of owner, kind and files, to say what it is about",
            f"{PATH}.rules[2].kind: unknown kind 'elfs'; did you mean 'elf'?",
            f"{PATH}.rules[3]: sets no limit; add one, like installed = '500 MB'",
            f"{PATH}.rules[4]: rules[0] is called 'torch', too; give this one another `name`",
            f"{PATH}.rules[4].count: must be 0 or more, not -1",
            f"{PATH}.rules[4].compressed-growth-percent: must be 0 or more, not -1.0",
            f"{PATH}.rules[5].files: '!' is no glob",
            f"{PATH}.overrides[0].limit: unknown limit 'fils'; did you mean 'files'?",
            f"{PATH}.overrides[1].reason: must say why in words that others understand; it is missing",
            f"{PATH}.overrides[2].limit: 'files' is overridden twice",
            f"{PATH}.overrides[2].reason: must say why in words that others understand; not 'todo'",
            f"{PATH}.overrides[3].limit: must name a limit, like 'installed'",
        ]
    )


@pytest.mark.parametrize("key", ["installed", "files", "startup", "installed-growth-percent"])
def test_a_number_that_nothing_could_be_told_of(key: str) -> None:
    (fault,) = faults_of({key: 10**400})
    assert fault.startswith(f"{PATH}.{key}: must be ")
    assert len(fault) < 150


def test_a_baseline_that_no_file_can_be_called() -> None:
    assert faults_of({"baseline": "a\0.json"}) == [f"{PATH}.baseline: must be a manifest (.json), not 'a\\x00.json'"]


@pytest.mark.parametrize("baseline", ["/sizes/app.json", "C:\\sizes\\app.json"])
def test_a_baseline_of_this_machine_alone(baseline: str) -> None:
    assert faults_of({"baseline": baseline}) == [f"{PATH}.baseline: must be relative to the project, not {baseline!r}"]


@pytest.mark.parametrize("reason", ["x", "TODO", "#412", "temporarily"])
def test_one_word_is_no_reason(reason: str) -> None:
    (fault,) = faults_of({"installed": 1, "overrides": [{"limit": "installed", "reason": reason}]})
    assert fault == f"{PATH}.overrides[0].reason: must say why in words that others understand; not {reason!r}"


def test_a_reason_without_spaces_between_its_words() -> None:
    assert budget({"installed": 1, "overrides": [{"limit": "installed", "reason": "新しいカーネルのため"}]})


def test_a_name_must_be_printable() -> None:
    (fault,) = faults_of({"rules": [{"owner": HOSTILE, "installed": 1}]})
    assert fault == f"{PATH}.rules[0].name: must be of printable characters, not {HOSTILE!r}"
    assert fault.isprintable()


def test_two_rules_of_one_owner_need_names() -> None:
    rules = [TORCH, {**TORCH, "name": "torch again"}]
    assert [limit.name for limit in limits_of(budget({"rules": rules}))] == ["torch: installed", "torch again: installed"]


def test_a_fault_is_told_in_the_table_that_is_laid_over() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_config({}, load_registry().option_types(), overlay={"budget": {"files": -1}}, overlay_path="tool.hatch.hook")
    assert caught.value.faults == ("tool.hatch.hook.budget.files: must be 0 or more, not -1",)


def test_a_budget_is_among_the_decisive_settings_as_it_was_written() -> None:
    table = {"installed": "600 MB", "preset": ["pypi"], "rules": [TORCH], "overrides": [{"limit": "pypi", "reason": REASON}]}
    known = load_registry().option_types()
    assert "budget" not in decisive_settings(read_config({}, known))
    assert decisive_settings(read_config({"budget": table}, known))["budget"] == {
        "enabled": True,
        "installed": 600_000_000,
        "preset": ["pypi"],
        "rules": [{"owner": "torch", "installed": 500_000_000}],
        "overrides": [{"limit": "pypi", "reason": REASON}],
    }
    assert decisive_settings(read_config({"budget": {"enabled": False}}, known))["budget"] == {"enabled": False}
