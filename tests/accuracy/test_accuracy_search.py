from __future__ import annotations

import json
import math

import pytest

from hatch_mlbundle.accuracy.search import Trial, fewest_promotions, first_within, trial_rows, unmeasured
from hatch_mlbundle.optimizer import Measured


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
    fewest, trials = fewest_promotions(50, lambda count: unmeasurable(str(count)))
    assert (fewest, len(trials), unmeasured(trials)) == (None, 1, True)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 39, 64, 1000])
def test_the_fewest_promotions_are_found_wherever_they_lie(count: int) -> None:
    for needed in {0, 1, count // 3, count // 2, count - 1, count} - {-1}:
        if needed > count:
            continue
        fewest, trials = fewest_promotions(count, lambda k, needed=needed: trial(str(k), k, 0.9995 if k >= needed else 0.9))
        assert fewest == needed
        assert str(fewest) in [each.setting for each in trials if each.keeps]
        assert len(trials) <= 2 + math.ceil(math.log2(count or 1))
        assert len({each.setting for each in trials}) == len(trials)


def test_where_all_promotions_do_not_do_none_is_chosen_after_two_attempts() -> None:
    fewest, trials = fewest_promotions(1000, lambda k: trial(str(k), k, 0.9))
    assert (fewest, len(trials)) == (None, 2)


def test_what_is_chosen_keeps_the_bound_even_where_harm_does_not_fall() -> None:
    keeps = {0: False, 8: True, 4: False, 6: False, 7: True}
    fewest, _ = fewest_promotions(8, lambda k: trial(str(k), k, float(keeps[k])))
    assert fewest is not None
    assert keeps[fewest]


def test_rows_are_json_with_rounded_values() -> None:
    odd = Trial(setting="fp16", size=5, measured=Measured(metric="cosine", value=math.nan, keeps=False))
    rows = trial_rows([trial("int8", 23_600_000, 0.99958123456), odd, unmeasurable("x")])
    assert rows[0] == {"setting": "int8", "size": 23_600_000, "metric": "cosine", "value": 0.999581, "keeps": True}
    assert [row["value"] for row in rows[1:]] == [None, None]
    assert [row["metric"] for row in rows] == ["cosine", "cosine", None]
    json.dumps(rows, allow_nan=False)
