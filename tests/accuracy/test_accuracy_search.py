from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

from hatch_mlbundle.accuracy.search import Choice, Trial, first_within, smallest_within, trial_rows, unmeasured
from hatch_mlbundle.optimizer import Measured, SearchBy


def trial(setting: str, size: int, value: float, *, bound: float = 0.999) -> Trial:
    return Trial(setting=setting, size=size, measured=Measured(metric="cosine", value=value, keeps=value >= bound))


def unmeasurable(setting: str) -> Trial:
    return Trial(setting=setting, size=1, measured=None)


VALUES = {"int8": 0.99, "int8 in groups": 0.9991, "fp16": 1.0}


def test_the_first_setting_within_the_bound_is_taken_and_no_other_tried() -> None:
    chosen, trials = first_within(VALUES, lambda name: trial(name, 1, VALUES[name]))
    assert chosen == "int8 in groups"
    assert [(each.setting, each.keeps) for each in trials] == [("int8", False), ("int8 in groups", True)]


def test_where_no_setting_keeps_the_bound_none_is_chosen() -> None:
    chosen, trials = first_within(VALUES, lambda name: trial(name, 1, VALUES[name], bound=1.1))
    assert chosen is None
    assert [each.setting for each in trials] == list(VALUES)
    assert not unmeasured(trials)


def test_what_nothing_can_run_is_tried_once() -> None:
    chosen, trials = first_within(VALUES, unmeasurable)
    assert (chosen, len(trials), unmeasured(trials)) == (None, 1, True)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 39, 64, 1000])
def test_the_fewest_promotions_are_found_wherever_they_lie(count: int) -> None:
    for needed in {1, count // 3, count // 2, count - 1, count} - {-1, 0}:
        keeping = lambda each, needed=needed: each.setting == "fp16" or each.promoted >= needed  # noqa: E731
        choice, trials = promoted(count, keeping)
        assert choice == (Choice(setting="int8", promoted=needed) if needed < count else Choice(setting="fp16"))
        assert len(trials) <= 2 + math.ceil(math.log2(count or 1))
        assert len({each.setting for each in trials}) == len(trials)


def test_what_is_chosen_keeps_the_bound_even_where_harm_does_not_fall() -> None:
    keeps = {0: False, 4: False, 6: False, 7: True}
    choice, _ = promoted(8, lambda each: each.setting == "fp16" or keeps[each.promoted])
    assert choice == Choice(setting="int8", promoted=7)


def promoted(count: int, keeping: Callable[[Choice], bool]) -> tuple[Choice | None, list[Trial]]:
    def attempt(each: Choice) -> Trial:
        return trial(f"{each.setting}, {each.promoted}", 1, 0.9995 if keeping(each) else 0.9)

    return smallest_within(["int8", "fp16"], count, attempt, "tensor")


def test_rows_are_json_with_rounded_values() -> None:
    odd = Trial(setting="fp16", size=5, measured=Measured(metric="cosine", value=math.nan, keeps=False))
    measured = Measured(metric="cosine", value=0.99958123456, keeps=True, worst=0.9912345678)
    rows = trial_rows([Trial(setting="int8", size=23_600_000, measured=measured), odd, unmeasurable("x")])
    assert rows[0] == {"setting": "int8", "size": 23_600_000, "metric": "cosine", "value": 0.999581, "worst": 0.991235, "keeps": True}
    assert [row["value"] for row in rows[1:]] == [None, None]
    assert [row["metric"] for row in rows] == ["cosine", "cosine", None]
    json.dumps(rows, allow_nan=False)


SETTINGS = ["int8", "int8 in groups", "fp16"]
TENSORS = 40


def attempted(choice: Choice, *, enough: tuple[str, int]) -> Trial:
    """Return a trial that keeps the bound from a setting and a number of promotions on; each promotion makes the model larger."""
    fineness = TENSORS * SETTINGS.index(choice.setting) + choice.promoted
    needed = TENSORS * SETTINGS.index(enough[0]) + enough[1]
    return trial(f"{choice.setting}, {choice.promoted}", 1000 + fineness, 0.9995 if fineness >= needed else 0.99)


@pytest.mark.parametrize("enough", [("int8", 0), ("int8", 1), ("int8", 39), ("int8 in groups", 0), ("int8 in groups", 17), ("fp16", 0)])
def test_by_tensor_the_smallest_mixture_of_neighbouring_settings_is_found(enough: tuple[str, int]) -> None:
    choice, trials = smallest_within(SETTINGS, TENSORS, lambda each: attempted(each, enough=enough), "tensor")
    assert choice == Choice(setting=enough[0], promoted=enough[1])
    assert len(trials) <= len(SETTINGS) + 6
    assert attempted(choice, enough=enough) == min((each for each in trials if each.keeps), key=lambda each: each.size)


def test_by_model_one_setting_is_for_all_tensors() -> None:
    choice, trials = smallest_within(SETTINGS, TENSORS, lambda each: attempted(each, enough=("int8", 1)), "model")
    assert choice == Choice(setting="int8 in groups")
    assert len(trials) == 2


def test_with_the_search_off_what_is_asked_for_is_measured_alone() -> None:
    for enough, chosen in ((("int8", 0), Choice(setting="int8")), (("int8", 1), None)):
        choice, trials = smallest_within(SETTINGS, TENSORS, lambda each, enough=enough: attempted(each, enough=enough), "off")
        assert (choice, len(trials)) == (chosen, 1)


@pytest.mark.parametrize("by", ["tensor", "model", "off"])
def test_where_nothing_does_nothing_is_chosen(by: SearchBy) -> None:
    choice, trials = smallest_within(SETTINGS, TENSORS, lambda each: trial(each.setting, 1, 0.5), by)
    assert choice is None
    assert len(trials) == (1 if by == "off" else 3)
    choice, trials = smallest_within(SETTINGS, TENSORS, lambda each: unmeasurable(each.setting), by)
    assert (choice, unmeasured(trials)) == (None, True)
